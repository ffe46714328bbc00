-- name: insert_promotion(promotion_id, policy_id, number, policy_version_id, replaces, kind, experiment_id, snapshot_id, signed_by, reason, promoted_at)!
insert into promotions (promotion_id, policy_id, number, policy_version_id, replaces, kind, experiment_id, snapshot_id,
    signed_by, reason, promoted_at)
values (:promotion_id, :policy_id, :number, :policy_version_id, :replaces, :kind, :experiment_id, :snapshot_id,
    :signed_by, :reason, :promoted_at);

-- name: promotions(policy_id)
select * from promotions where policy_id = :policy_id order by number;

-- name: last_promotion(policy_id)^
select * from promotions where policy_id = :policy_id order by number desc limit 1;

-- name: report_replica(name, pid, started_at, seen_at, loaded)!
insert into replicas (name, pid, started_at, seen_at, loaded)
values (:name, :pid, :started_at, :seen_at, cast(:loaded as uuid[]))
on conflict (name, pid) do update
set started_at = excluded.started_at, seen_at = excluded.seen_at, loaded = excluded.loaded;

-- name: forget_replica(name, pid)!
delete from replicas where name = :name and pid = :pid;

-- name: replicas()
select * from replicas order by name collate "C", pid;
