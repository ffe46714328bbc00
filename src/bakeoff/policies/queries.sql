-- name: insert_policy(policy_id, task)!
insert into policies (policy_id, task) values (:policy_id, :task) on conflict (policy_id) do nothing;

-- name: lock_policy(policy_id)^
-- Serialises the numbering of versions and moves of the default. 'No key': who only names the policy does not wait.
select * from policies where policy_id = :policy_id for no key update;

-- name: lock_word(policy_version_id)^
-- Serialises what people say of a version; by a number, as who signs may not lock rows of other tables.
select pg_advisory_xact_lock(hashtextextended('bakeoff word ' || :policy_version_id, 0));

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

-- name: insert_approval(approval_id, policy_version_id, kind, report_digest, fingerprint, signed_by, note, signed_at, expires_at, covers_from, covers)!
-- The version becomes 'approved' by it: a trigger, so that who signs needs no other right.
insert into approvals (approval_id, policy_version_id, kind, report_digest, fingerprint, signed_by, note, signed_at,
    expires_at, covers_from, covers)
values (:approval_id, :policy_version_id, :kind, :report_digest, :fingerprint, :signed_by, :note, :signed_at,
    :expires_at, :covers_from, :covers);

-- name: live_approval(policy_version_id)^
select * from approvals where policy_version_id = :policy_version_id and voided_at is null;

-- name: void_approval(policy_version_id, now, reason)!
-- A function of the database: the role that may not write approvals may still end one.
select void_approval(:policy_version_id, :now, :reason);

-- name: last_voided(policy_version_id)^
select * from approvals where policy_version_id = :policy_version_id and voided_at is not null
order by voided_at desc limit 1;

-- name: insert_rejection(rejection_id, policy_version_id, report_digest, rejected_by, reason, rejected_at)!
-- The version becomes 'rejected' by it, and a living approval void.
insert into rejections (rejection_id, policy_version_id, report_digest, rejected_by, reason, rejected_at)
values (:rejection_id, :policy_version_id, :report_digest, :rejected_by, :reason, :rejected_at);

-- name: rejection(policy_version_id)^
select * from rejections where policy_version_id = :policy_version_id;

-- name: stands_above()^
-- Whether this user can change the rules themselves.
select r.rolsuper or pg_has_role(r.oid, c.relowner, 'member') as above
from pg_roles r, pg_class c where r.rolname = current_user and c.oid = 'approvals'::regclass;
