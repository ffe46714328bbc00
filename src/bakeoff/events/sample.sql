-- name: some_decisions(task, accepted, rows)
-- Decisions in an order that depends on nothing but their ids: as if drawn by lot, and the same every time.
-- With `accepted` only those that something was accepted of.
select e.decision_id from events e
where e.task = :task and e.role = (case when :accepted then 'accept' else 'decision' end)
group by e.decision_id
order by md5(e.decision_id::text) collate "C", e.decision_id
limit :rows;

-- name: decisions_of_needs(task, decision_ids)
-- Every decision of the needs that these decisions belong to, with the requests.
select e.*, r.body as request
from events e join requests r on r.digest = e.request_digest
where e.role = 'decision' and e.task = :task and (e.unit_id, e.need_id) in (
    select d.unit_id, d.need_id from events d where d.role = 'decision' and d.decision_id = any(:decision_ids::uuid[])
)
order by e.occurred_at, e.event_id;

-- name: outcomes_of_decisions(decision_ids)
-- What was made of them; an outcome that came before its decision with another context was not.
select o.*
from events o join events d on d.decision_id = o.decision_id and d.role = 'decision'
    and (d.variant_id, d.unit_id, d.task) = (o.variant_id, o.unit_id, o.task)
where o.role <> 'decision' and o.decision_id = any(:decision_ids::uuid[])
order by o.occurred_at, o.event_id;

-- name: some_requests(task, request_version, since, until, rows)
-- Decisions with their requests, in the order of the requests' digests: as if drawn by lot, the same every time.
with drawn as (
    select e.unit_id, e.need_id, e.occurred_at, e.decision_id, r.digest
    from events e join requests r on r.digest = e.request_digest
    where e.role = 'decision' and e.task = :task and r.request_version = :request_version
      and e.occurred_at >= :since and e.occurred_at < :until
    order by r.digest collate "C", e.decision_id
    limit :rows
)
select d.*, r.body as request from drawn d join requests r on r.digest = d.digest
order by d.digest collate "C", d.decision_id;
