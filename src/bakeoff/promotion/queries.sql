-- name: insert_promotion(promotion_id, policy_id, number, policy_version_id, replaces, kind, experiment_id, snapshot_id, signed_by, reason, promoted_at)!
insert into promotions (promotion_id, policy_id, number, policy_version_id, replaces, kind, experiment_id, snapshot_id,
    signed_by, reason, promoted_at)
values (:promotion_id, :policy_id, :number, :policy_version_id, :replaces, :kind, :experiment_id, :snapshot_id,
    :signed_by, :reason, :promoted_at);

-- name: promotions(policy_id)
select * from promotions where policy_id = :policy_id order by number;
