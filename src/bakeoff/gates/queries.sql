-- name: insert_report(digest, policy_version_id, incumbent_version_id, fingerprint, dataset_digest, gate_digest, verdict, report, created_at)!
insert into gate_reports (digest, policy_version_id, incumbent_version_id, fingerprint, dataset_digest, gate_digest,
    verdict, report, attempt, created_at)
select :digest, :policy_version_id, :incumbent_version_id, :fingerprint, :dataset_digest, :gate_digest, :verdict,
    :report, 1 + count(*), :created_at
from gate_reports
where dataset_digest = :dataset_digest
on conflict (digest) do nothing;

-- name: report(digest)^
select * from gate_reports where digest = :digest;

-- name: latest_report(policy_version_id)^
select * from gate_reports where policy_version_id = :policy_version_id order by created_at desc limit 1;

-- name: digests(policy_version_id)
select digest from gate_reports where policy_version_id = :policy_version_id order by created_at, digest;
