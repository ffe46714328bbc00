-- name: entries(policy_id)
select policy_id, policy_version as version, against_version as against, side, source, source_id, metric, rows,
       is_primary, advantage, lower, upper, units, says, at
from offline_online_ledger where policy_id = :policy_id;
