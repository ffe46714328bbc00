-- name: insert_report(digest, policy_version_id, incumbent_version_id, fingerprint, dataset_digest, gate_digest, verdict, report, attempt, task, opening, question, created_at)!
insert into gate_reports (digest, policy_version_id, incumbent_version_id, fingerprint, dataset_digest, gate_digest,
    verdict, report, attempt, task, opening, question, created_at)
values (:digest, :policy_version_id, :incumbent_version_id, :fingerprint, :dataset_digest, :gate_digest, :verdict,
    :report, :attempt, :task, :opening, :question, :created_at);

-- name: report(digest)^
select * from gate_reports where digest = :digest;

-- name: report_on(question)^
select * from gate_reports where question = :question;

-- name: latest_report(policy_version_id)^
select * from gate_reports where policy_version_id = :policy_version_id order by created_at desc limit 1;

-- name: attempts(task, opening)$
select count(*) from gate_reports where task = :task and opening = :opening;

-- name: judged_datasets(task)
-- Digests of the datasets that a gate of the task has read.
select distinct dataset_digest from gate_reports where task = :task;

-- name: lock(task)
-- One gate of a task at a time opens slices or counts attempts, until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('bakeoff gate ' || :task, 0));

-- name: opened(task)
select * from open_slices where task = :task order by opening, slice;

-- name: open_slice(task, opening, slice, since, opened_at, dataset_digest, reason)!
insert into open_slices (task, opening, slice, since, opened_at, dataset_digest, reason)
values (:task, :opening, :slice, :since, :opened_at, :dataset_digest, :reason);

-- name: digests(policy_version_id)
select digest from gate_reports where policy_version_id = :policy_version_id order by created_at, digest;

-- name: about(digest)^
select digest, policy_version_id, incumbent_version_id, dataset_digest, verdict, attempt, created_at,
       report -> 'subject' as subject
from gate_reports where digest = :digest;

-- name: reports_on_replays(digests)
-- Reports that compared one of these replays, oldest first.
select digest, policy_version_id, incumbent_version_id, dataset_digest, verdict, attempt, created_at,
       report -> 'subject' as subject
from gate_reports
where report -> 'subject' ->> 'candidate_replay' = any (:digests) or report -> 'subject' ->> 'incumbent_replay' = any (:digests)
order by created_at, digest;
