-- name: insert_policy(policy_id, task)!
insert into policies (policy_id, task) values (:policy_id, :task) on conflict (policy_id) do nothing;

-- name: lock_policy(policy_id)^
-- Serialises the numbering of versions.
select * from policies where policy_id = :policy_id for update;

-- name: policy(policy_id)^
select * from policies where policy_id = :policy_id;

-- name: all_policies()
select * from policies order by policy_id collate "C";

-- name: set_last_resort(policy_version_id, policy_id)!
update policies set last_resort = :policy_version_id where policy_id = :policy_id;

-- name: insert_version(policy_version_id, policy_id, spec, fingerprint, config_defaults, mlflow_model_name, mlflow_model_version, mlflow_run_id, dataset_digest, created_at)!
insert into policy_versions (policy_version_id, policy_id, version, spec, fingerprint, config_defaults,
    mlflow_model_name, mlflow_model_version, mlflow_run_id, dataset_digest, status, created_at)
select :policy_version_id, :policy_id,
    coalesce((select max(version) from policy_versions where policy_id = :policy_id), 0) + 1,
    :spec, :fingerprint, :config_defaults, :mlflow_model_name, :mlflow_model_version, :mlflow_run_id,
    :dataset_digest, 'registered', :created_at
on conflict (policy_id, fingerprint) do nothing;

-- name: version_by_fingerprint(policy_id, fingerprint)^
select * from policy_versions where policy_id = :policy_id and fingerprint = :fingerprint;

-- name: version_by_number(policy_id, version)^
select * from policy_versions where policy_id = :policy_id and version = :version;

-- name: version_by_id(policy_version_id)^
select * from policy_versions where policy_version_id = :policy_version_id;

-- name: serving_versions(policy_id, policy_version_id)
-- The assigned version and the policy's last resort, which may be the same.
select v.*, v.policy_version_id = p.last_resort as is_last_resort
from policies p join policy_versions v on v.policy_version_id in (:policy_version_id, p.last_resort)
where p.policy_id = :policy_id;

-- name: versions(policy_id)
select * from policy_versions where policy_id = :policy_id order by version;

-- name: set_status(status, policy_version_id)!
update policy_versions set status = :status where policy_version_id = :policy_version_id and status <> :status;

-- name: insert_approval(approval_id, policy_version_id, kind, report_digest, fingerprint, signed_by, note, signed_at, expires_at, covers_from)!
insert into approvals (approval_id, policy_version_id, kind, report_digest, fingerprint, signed_by, note, signed_at,
    expires_at, covers_from)
values (:approval_id, :policy_version_id, :kind, :report_digest, :fingerprint, :signed_by, :note, :signed_at,
    :expires_at, :covers_from);

-- name: live_approval(policy_version_id)^
select * from approvals where policy_version_id = :policy_version_id and voided_at is null;

-- name: void_approval(now, reason, policy_version_id)!
update approvals set voided_at = :now, void_reason = :reason
where policy_version_id = :policy_version_id and voided_at is null;
