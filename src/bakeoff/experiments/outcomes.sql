-- name: lock(experiment_id)^
select pg_advisory_xact_lock(hashtextextended(:experiment_id, 0));

-- name: fold(experiment_id)^
select * from outcome_folds where experiment_id = :experiment_id;

-- name: put_fold(experiment_id, shape, metrics, received_until, counted)!
insert into outcome_folds (experiment_id, shape, metrics, received_until, counted)
values (:experiment_id, :shape, :metrics, :received_until, :counted)
on conflict (experiment_id) do update
set shape = excluded.shape, metrics = excluded.metrics, received_until = excluded.received_until,
    counted = excluded.counted;

-- name: forget_needs(experiment_id)!
delete from need_outcomes where experiment_id = :experiment_id;

-- name: forget_baselines(experiment_id)!
delete from unit_baselines where experiment_id = :experiment_id;

-- name: remove_needs(experiment_id, units, needs)!
delete from need_outcomes n using unnest(:units::text[], :needs::text[]) as gone(unit_id, need_id)
where n.experiment_id = :experiment_id and n.unit_id = gone.unit_id and n.need_id = gone.need_id;

-- name: put_empty_baselines(experiment_id)!
insert into unit_baselines (experiment_id, unit_id, sums, needs)
select e.experiment_id, e.unit_id, '{}', '{}' from exposures e
where e.experiment_id = :experiment_id
  and not exists (select from unit_baselines b where b.experiment_id = e.experiment_id and b.unit_id = e.unit_id);

-- name: left_out(experiment_id, now)^
-- Test units that met the test, and units with decisions of the test but without an exposure.
select (select count(*) from exposures e
        where e.experiment_id = :experiment_id and e.occurred_at <= :now and (e.forced or exists (
            select from forced_variants f where f.experiment_id = e.experiment_id and f.unit_id = e.unit_id))) as forced,
       (select count(distinct n.unit_id) from need_outcomes n
        where n.experiment_id = :experiment_id and n.began_at <= :now and not exists (
            select from exposures e where e.experiment_id = n.experiment_id and e.unit_id = n.unit_id)) as unexposed;

-- name: unit_needs(experiment_id, now, horizon)
-- Each exposed unit with its needs, in the order in which they are added up: another order is another last digit.
select e.unit_id collate "C" as unit_id, v.role = 'treated' as is_treated, e.phase, n.began_at, n.measured,
       coalesce(n.in_two_arms or n.variant_id <> e.variant_id, false) as in_two_arms, b.sums, b.needs
from exposures e
join variants v on v.variant_id = e.variant_id
left join need_outcomes n on n.experiment_id = e.experiment_id and n.unit_id = e.unit_id collate "C"
    and n.began_at <= :now and n.began_at < e.occurred_at + :horizon::interval
left join unit_baselines b on b.experiment_id = e.experiment_id and b.unit_id = e.unit_id collate "C"
where e.experiment_id = :experiment_id and e.occurred_at <= :now and not e.forced and not exists (
    select from forced_variants f where f.experiment_id = e.experiment_id and f.unit_id = e.unit_id)
order by e.unit_id collate "C", n.need_id collate "C";
