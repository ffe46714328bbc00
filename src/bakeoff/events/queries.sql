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

-- name: needs(task, since, until, experiment_id, decision_ids)
-- Each need with decisions in a window: the request of its first decision as the text that was digested, and its
-- decisions with the outcomes known by `until`, oldest first, as arrays of values (see `_told`). In canonical order.
-- With `decision_ids` only the needs that one of these decisions belongs to.
with needs as (
    select unit_id, need_id, min(occurred_at) as began_at,
           array_agg(decision_id order by occurred_at, event_id) as decisions,
           (array_agg(request_digest order by occurred_at, event_id))[1] as request_digest
    from events
    where role = 'decision' and task = :task and occurred_at >= :since and occurred_at < :until
      and (:experiment_id::uuid is null or experiment_id = :experiment_id::uuid)
      and (:decision_ids::uuid[] is null or (unit_id, need_id) in (
          select unit_id, need_id from events where role = 'decision' and decision_id = any (:decision_ids::uuid[])))
    group by unit_id, need_id
)
select n.unit_id, n.need_id, n.request_digest, r.body, (
    select json_agg(json_build_array(
        e.event_id, e.event_type, e.role, e.decision_id, e.experiment_id, e.variant_id, e.policy_version_id,
        e.served_policy_version_id, e.occurred_at, e.origin, e.assignment_probability, e.action_propensity, e.payload
    ) order by e.occurred_at, e.event_id)
    from events e
    where e.decision_id = any (n.decisions) and e.task = :task and e.unit_id = n.unit_id and e.occurred_at < :until
) as told
from needs n join requests r on r.digest = n.request_digest
order by n.began_at, n.decisions[1];

-- name: count_decisions(task, since, until)$
select count(*) from events where role = 'decision' and task = :task and occurred_at >= :since and occurred_at < :until;

-- name: outcomes_of(decision_id)
select * from events where decision_id = :decision_id and role <> 'decision' order by occurred_at, event_id;

-- name: count_events(task)^
select count(*) as events, count(*) filter (where role = 'decision') as decisions,
       count(distinct unit_id) as units, min(occurred_at) as first_at, max(occurred_at) as last_at
from events where task = :task;

-- name: received(experiment_id, before)^
-- How many events of an experiment arrived before a moment, and when the newest of all arrived. Both from an index.
select (select count(*) from events where experiment_id = :experiment_id and received_at < :before) as before,
       (select max(received_at) from events where experiment_id = :experiment_id) as newest;

-- name: decisions_of(task, experiment_id)
-- Every need of an experiment with its decisions, oldest first; in no order.
select unit_id, need_id, array_agg(decision_id order by occurred_at, event_id) as decisions,
       (array_agg(request_digest order by occurred_at, event_id))[1] as request_digest, 'infinity'::timestamptz as known_at
from events
where role = 'decision' and task = :task and experiment_id = :experiment_id
group by unit_id, need_id;

-- name: decisions_changed(task, experiment_id, since)
-- Of these, the needs with an event that arrived since a moment.
select d.unit_id, d.need_id, array_agg(d.decision_id order by d.occurred_at, d.event_id) as decisions,
       (array_agg(d.request_digest order by d.occurred_at, d.event_id))[1] as request_digest,
       'infinity'::timestamptz as known_at
from (
    select distinct d.unit_id, d.need_id
    from events t join events d on d.decision_id = t.decision_id
    where t.experiment_id = :experiment_id and t.received_at >= :since
      and d.role = 'decision' and d.task = :task and d.experiment_id = :experiment_id
) changed join events d on d.unit_id = changed.unit_id and d.need_id = changed.need_id
where d.role = 'decision' and d.task = :task and d.experiment_id = :experiment_id
group by d.unit_id, d.need_id;

-- name: decisions_before(task, experiment_id, reach)
-- The needs of units in the stretch `reach` before they met a test, as far as they were known at that moment, where
-- nobody has looked at them yet.
select unit_id, need_id, array_agg(decision_id order by occurred_at, event_id) as decisions,
       (array_agg(request_digest order by occurred_at, event_id))[1] as request_digest, exposed_at as known_at
from decisions_before_exposure
where experiment_id = :experiment_id and task = :task and occurred_at >= exposed_at - :reach::interval
group by unit_id, need_id, exposed_at;

-- name: told_needs()
-- Appended to `with needs as (one of the three above)`: each need as `needs` tells it, with what was known of it then.
select n.unit_id, n.need_id, n.request_digest, nullif(n.known_at, 'infinity'), r.body, (
    select json_agg(json_build_array(
        e.event_id, e.event_type, e.role, e.decision_id, e.experiment_id, e.variant_id, e.policy_version_id,
        e.served_policy_version_id, e.occurred_at, e.origin, e.assignment_probability, e.action_propensity, e.payload
    ) order by e.occurred_at, e.event_id)
    from events e
    where e.decision_id = any (n.decisions) and e.unit_id = n.unit_id
      and e.occurred_at < n.known_at and e.received_at < n.known_at
) as told
from needs n join requests r on r.digest = n.request_digest;

-- name: event_decision(event_id)$
select decision_id from events where event_id = :event_id;

-- name: decisions_of_unit(unit_id)
-- Oldest first, each with how many outcomes it has.
select d.decision_id, d.task, d.need_id, d.occurred_at, d.experiment_id, d.policy_version_id, d.served_policy_version_id,
       d.origin, (select count(*) from events o where o.decision_id = d.decision_id and o.role <> 'decision') as outcomes
from events d where d.unit_id = :unit_id and d.role = 'decision' order by d.occurred_at, d.event_id;
