-- name: stage#
create temporary table if not exists staged_requests (digest text, body json) on commit delete rows;
create temporary table if not exists staged_events (
    place int, event_id uuid, content_digest text, event_type text, role text, unit_id text, decision_id uuid,
    need_id text, request_digest text, experiment_id uuid, variant_id uuid, policy_version_id uuid,
    served_policy_version_id uuid, assignment_probability double precision, action_propensity double precision,
    occurred_at timestamptz, payload jsonb
) on commit delete rows;
truncate staged_requests, staged_events;

-- name: few(rows)
-- Put before one of the statements below, it stands for the stage: a few rows as JSON. Emptying a temporary table costs
-- more than they do.
with staged_events as (
    select * from json_to_recordset(:rows::json) as t (
        place int, event_id uuid, content_digest text, event_type text, role text, unit_id text, decision_id uuid,
        need_id text, request_digest text, experiment_id uuid, variant_id uuid, policy_version_id uuid,
        served_policy_version_id uuid, assignment_probability double precision, action_propensity double precision,
        occurred_at timestamptz, payload jsonb
    )
)

-- name: add_requests(task, request_version)!
insert into requests (digest, task, request_version, body)
select digest, :task, :request_version, body from staged_requests on conflict (digest) do nothing;

-- name: add_events(task, received_at, origin, decisions)!
insert into events (event_id, content_digest, event_type, role, task, unit_id, decision_id, need_id, request_digest,
                    experiment_id, variant_id, policy_version_id, served_policy_version_id, assignment_probability,
                    action_propensity, origin, occurred_at, received_at, payload)
select event_id, content_digest, event_type, role, :task, unit_id, decision_id, need_id, request_digest,
       experiment_id, variant_id, policy_version_id, served_policy_version_id, assignment_probability,
       action_propensity, :origin, occurred_at, :received_at, payload
from staged_events where (role = 'decision') = :decisions order by place
on conflict do nothing;

-- name: other_content()
-- Rows whose id is in the log with other content, or whose decision is there as another event. Row by row, from the
-- index: a planner that knows little of the log would read all of it.
select s.place, s.event_id, s.content_digest as ours, coalesce(e.content_digest, 'another decision event') as theirs
from staged_events s
left join lateral (select content_digest from events where event_id = s.event_id limit 1) e on true
where e.content_digest is null or e.content_digest <> s.content_digest
order by s.place;

-- name: misfits(task, skew)
-- Outcomes whose decision is known, and says something else. Row by row too.
select s.place, s.occurred_at, d.occurred_at as decided_at, d.decision_id, d.unit_id, d.experiment_id, d.variant_id,
       d.policy_version_id, d.occurred_at - s.occurred_at > :skew as too_early
from staged_events s cross join lateral (
    select decision_id, unit_id, task, experiment_id, variant_id, policy_version_id, occurred_at
    from events where decision_id = s.decision_id and role = 'decision' limit 1
) d
where s.role <> 'decision'
  and ((d.unit_id, d.task, d.experiment_id, d.variant_id, d.policy_version_id) is distinct from
       (s.unit_id, :task, s.experiment_id, s.variant_id, s.policy_version_id)
       or d.occurred_at - s.occurred_at > :skew)
order by s.place;

-- name: unstage(places)!
delete from staged_events where place = any(:places) and role <> 'decision';

-- name: open_import(import_id, task, source, source_digest, settings, started_at)!
insert into imports (import_id, task, source, source_digest, settings, started_at)
values (:import_id, :task, :source, :source_digest, :settings, :started_at)
on conflict (import_id) do nothing;

-- name: find_import(import_id)^
select * from imports where import_id = :import_id;

-- name: lock_import(import_id)^
select position from imports where import_id = :import_id for update;

-- name: restart_import(import_id, started_at)!
update imports set position = 0, rejects_bytes = 0, counts = '{}', finished_at = null, started_at = :started_at
where import_id = :import_id;

-- name: advance_import(import_id, position, rejects_bytes, counts)!
update imports set position = :position, rejects_bytes = :rejects_bytes, counts = :counts where import_id = :import_id;

-- name: finish_import(import_id, finished_at)!
update imports set finished_at = :finished_at where import_id = :import_id;
