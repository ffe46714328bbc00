-- name: insert_decision(request_digest, task, request_version, body, event_id, content_digest, event_type, unit_id, decision_id, need_id, experiment_id, variant_id, policy_version_id, served_policy_version_id, assignment_probability, action_propensity, origin, occurred_at, received_at, payload)!
-- A request is stored once, by digest; in one statement with the decision, because serving pays for each round trip.
with request as (
    insert into requests (digest, task, request_version, body)
    values (:request_digest, :task, :request_version, :body)
    on conflict (digest) do nothing
)
insert into events (event_id, content_digest, event_type, role, task, unit_id, decision_id, need_id, request_digest,
                    experiment_id, variant_id, policy_version_id, served_policy_version_id, assignment_probability,
                    action_propensity, origin, occurred_at, received_at, payload)
values (:event_id, :content_digest, :event_type, 'decision', :task, :unit_id, :decision_id, :need_id, :request_digest,
        :experiment_id, :variant_id, :policy_version_id, :served_policy_version_id, :assignment_probability,
        :action_propensity, :origin, :occurred_at, :received_at, :payload)
on conflict do nothing;

-- name: insert_outcome(event_id, content_digest, event_type, role, task, unit_id, decision_id, experiment_id, variant_id, policy_version_id, origin, occurred_at, received_at, payload)!
insert into events (event_id, content_digest, event_type, role, task, unit_id, decision_id, experiment_id, variant_id,
                    policy_version_id, origin, occurred_at, received_at, payload)
values (:event_id, :content_digest, :event_type, :role, :task, :unit_id, :decision_id, :experiment_id, :variant_id,
        :policy_version_id, :origin, :occurred_at, :received_at, :payload)
on conflict do nothing;

-- name: event_by_id(event_id)^
select * from events where event_id = :event_id;

-- name: decision_by_id(decision_id)^
select e.*, r.body as request from events e join requests r on r.digest = e.request_digest
where e.decision_id = :decision_id and e.role = 'decision';

-- name: decisions(task, since, until, experiment_id)
-- Decisions of a task in a window, the decisions of a need side by side, with their requests.
select e.*, r.body as request
from events e join requests r on r.digest = e.request_digest
where e.role = 'decision' and e.task = :task and e.occurred_at >= :since and e.occurred_at < :until
  and (:experiment_id::uuid is null or e.experiment_id = :experiment_id::uuid)
order by e.unit_id, e.need_id, e.occurred_at, e.event_id;

-- name: outcomes(task, since, until, experiment_id)
-- Outcomes known by `until` of the decisions in a window. One that came before its decision with another context
-- was not made of it.
select o.*
from events o join events d on d.decision_id = o.decision_id and d.role = 'decision'
    and (d.variant_id, d.unit_id, d.task) = (o.variant_id, o.unit_id, o.task)
where o.role <> 'decision' and d.task = :task and d.occurred_at >= :since and d.occurred_at < :until
  and o.occurred_at < :until
  and (:experiment_id::uuid is null or d.experiment_id = :experiment_id::uuid)
order by o.decision_id, o.occurred_at, o.event_id;

-- name: outcomes_of(decision_id)
select * from events where decision_id = :decision_id and role <> 'decision' order by occurred_at, event_id;

-- name: count_events(task)^
select count(*) as events, count(*) filter (where role = 'decision') as decisions,
       count(distinct unit_id) as units, min(occurred_at) as first_at, max(occurred_at) as last_at
from events where task = :task;
