-- Each query of a finding gives `count` rows that are wrong and up to three `examples`, as texts.

-- name: other_context(task)^
select count(*) as count, (array_agg(o.event_id::text order by o.occurred_at, o.event_id))[1: 3] as examples
from events o join events d on d.decision_id = o.decision_id and d.role = 'decision'
where o.task = :task and o.role <> 'decision'
  and (o.experiment_id, o.variant_id, o.policy_version_id, o.unit_id, o.task) is distinct from
      (d.experiment_id, d.variant_id, d.policy_version_id, d.unit_id, d.task);

-- name: without_decision(task, before)^
select count(*) as count, (array_agg(o.event_id::text order by o.occurred_at, o.event_id))[1: 3] as examples
from events o left join events d on d.decision_id = o.decision_id and d.role = 'decision'
where o.task = :task and o.role <> 'decision' and o.received_at < :before and d.event_id is null;

-- name: event_types(task)
select event_type, role, count(*) as count
from events where task = :task group by event_type, role order by event_type, role;

-- name: payload_fields(task, sample)
-- Of the newest events only: reading every payload of a long log takes minutes.
select event_type, field, count(*) as count
from (select event_type, payload from events where task = :task order by occurred_at desc limit :sample) e,
     jsonb_object_keys(case jsonb_typeof(payload) when 'object' then payload else '{}' end) as field
group by event_type, field order by event_type, field;

-- name: from_the_future(task)^
select count(*) as count, (array_agg(event_id::text order by occurred_at, event_id))[1: 3] as examples
from events where task = :task and occurred_at > received_at;

-- name: before_decision(task)^
select count(*) as count, (array_agg(o.event_id::text order by o.occurred_at, o.event_id))[1: 3] as examples
from events o join events d on d.decision_id = o.decision_id and d.role = 'decision'
where o.task = :task and o.role <> 'decision' and o.occurred_at < d.occurred_at;

-- name: without_exposure(task)^
select count(*) as count, (array_agg(event_id::text order by occurred_at, event_id))[1: 3] as examples
from decisions_without_exposure where task = :task;

-- name: other_digest(task, sample)^
-- A sample: digests are as good as random, so the first in their order are.
select count(*) as count, (array_agg(digest order by digest))[1: 3] as examples
from (select digest, body from requests where task = :task order by digest limit :sample) r
where digest <> 'sha256:' || encode(sha256(convert_to(body::text, 'UTF8')), 'hex');

-- name: may_lack_metadata()
-- Columns of `events` that may be null, or that are not there: our own table refuses both, a view over another does not.
select wanted.name, found.column_name is null as is_missing
from unnest(array['experiment_id', 'variant_id', 'policy_version_id']) as wanted (name)
left join information_schema.columns found
       on found.table_schema = current_schema() and found.table_name = 'events' and found.column_name = wanted.name
where found.column_name is null or found.is_nullable = 'YES';

-- name: null_metadata()^
select count(*) as count, (array_agg(event_id::text order by occurred_at))[1: 3] as examples
from events where experiment_id is null or variant_id is null or policy_version_id is null;
