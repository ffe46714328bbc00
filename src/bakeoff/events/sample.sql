-- name: some_decisions(task, accepted, rows)
-- Decisions in an order that depends on nothing but their ids: as if drawn by lot, and the same every time.
-- With `accepted` only those that something was accepted of.
select e.decision_id from events e
where e.task = :task and e.role = (case when :accepted then 'accept' else 'decision' end)
group by e.decision_id
order by md5(e.decision_id::text) collate "C", e.decision_id
limit :rows;

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
