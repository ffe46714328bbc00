-- Promotion at full depth: a share of units that keeps the old version, what replicas hold, the ledger of what replay
-- predicted and what was measured, and indexes for the way from a household to everything that saw it.

-- ---- the holdback ------------------------------------------------------------------------------------------------------

-- A third kind of experiment beside default and test: it has a test's two equal arms, so that everything that watches a
-- test watches it too, and it neither takes the one place that a policy has for a test nor goes through a ramp.

alter table experiments drop constraint experiments_kind_check;
alter table experiments add constraint experiments_kind_check check (kind in ('default', 'test', 'holdback'));
alter table experiments drop constraint experiments_check;
alter table experiments add constraint experiments_check check (kind <> 'default' or status in ('created', 'running'));
create unique index one_running_holdback on experiments (policy_id) where kind = 'holdback' and status = 'running';
comment on column experiments.kind is
    'default: serves everyone that no other takes; test: a version is tried; holdback: after a promotion a share of '
    'units (control) keeps what it replaced, beside as many (treated) with what was promoted.';

create function holdback_guard() returns trigger language plpgsql set search_path from current as $$
declare
    experiment experiments;
begin
    select * into experiment from experiments e where e.experiment_id = new.experiment_id;
    if experiment.kind <> 'holdback' then
        return new;
    end if;
    if new.number > 1 then
        raise exception 'a holdback has one phase; end it, it is not widened' using errcode = 'BK003';
    end if;
    if new.treated_bp not between 1 and 2000 then
        raise exception 'a holdback keeps at most 2000 basis points (20 %%), not %', new.treated_bp
            using errcode = 'BK003';
    end if;
    if not exists (
        select from promotions m
        join variants t on t.variant_id = new.treated_variant_id and t.policy_version_id = m.policy_version_id
        join variants c on c.variant_id = new.control_variant_id and c.policy_version_id = m.replaces
        where m.policy_id = experiment.policy_id and m.kind = 'promotion'
          and m.number = (select max(l.number) from promotions l where l.policy_id = m.policy_id)
    ) then
        raise exception 'a holdback compares what the last promotion moved to everyone with what that replaced'
            using errcode = 'BK003';
    end if;
    return new;
end $$;
create trigger holdback_guard before insert on phases for each row execute function holdback_guard();

-- ---- evidence is about what is replaced ------------------------------------------------------------------------------

create function promotion_control_guard() returns trigger language plpgsql set search_path from current as $$
begin
    if not exists (
        select from variants c
        where c.experiment_id = new.experiment_id and c.role = 'control' and serves_everyone(c.policy_version_id)
    ) then
        raise exception 'the test compared this version with one that serves everyone no longer' using errcode = 'BK004';
    end if;
    return new;
end $$;
create trigger promotion_guard_of_control before insert on promotions
    for each row when (new.kind = 'promotion') execute function promotion_control_guard();

-- ---- what replicas hold --------------------------------------------------------------------------------------------------

create table replicas (
    name       text not null check (name <> ''),
    pid        int not null check (pid > 0),
    started_at timestamptz not null,
    seen_at    timestamptz not null,
    loaded     uuid[] not null,
    primary key (name, pid)
);
comment on table replicas is 'Serving processes as they told of themselves at their last poll. Not evidence: rows may be deleted.';
comment on column replicas.loaded is 'Policy versions that it can answer with at once.';

-- ---- from a household to everything that saw it ----------------------------------------------------------------------------

create index exposures_of_unit on exposures (unit_id);
create index results_of_unit on offline_replay_results (unit_id);
create index promotions_of_version on promotions (policy_version_id);
create index reports_of_version on gate_reports (policy_version_id, created_at);

-- ---- what replay predicted, what was measured ------------------------------------------------------------------------------

create view offline_online_ledger as
with tried as (
    select e.policy_id, e.experiment_id, e.kind, e.started_at, e.spec ->> 'primary' as primary_metric,
           t.policy_version_id, c.policy_version_id as against_id
    from experiments e
    join variants t on t.experiment_id = e.experiment_id and t.role = 'treated'
    join variants c on c.experiment_id = e.experiment_id and c.role = 'control'
    where e.started_at is not null
), judged as (
    -- The report that was there when a version first met people; of one that never did its latest.
    select distinct on (r.policy_version_id) r.*
    from gate_reports r
    where r.created_at <= coalesce(
        (select min(x.started_at) from tried x where x.policy_version_id = r.policy_version_id), 'infinity')
    order by r.policy_version_id, r.created_at desc, r.digest
), seen as (
    select distinct on (s.experiment_id) s.* from monitor_snapshots s order by s.experiment_id, s.taken_at desc
), lines as (
    select j.policy_version_id, j.incumbent_version_id as against_id, 'offline' as side, 'gate' as source,
           j.digest as source_id, v.found ->> 'metric' as metric, v.found ->> 'rows' as rows, false as is_primary,
           (v.found ->> 'estimate')::double precision as advantage, (v.found ->> 'lower')::double precision as lower,
           (v.found ->> 'upper')::double precision as upper, (v.found ->> 'units')::int as units,
           j.verdict as says, j.created_at as at
    from judged j cross join jsonb_array_elements(j.report -> 'verdicts') as v (found)
    where v.found ->> 'kind' <> 'absolute'
    union all
    select t.policy_version_id, t.against_id, 'online', t.kind, s.experiment_id::text, m.found ->> 'metric', null,
           m.found ->> 'metric' = t.primary_metric, (m.found ->> 'estimate')::double precision,
           (m.found ->> 'lower')::double precision, (m.found ->> 'upper')::double precision,
           (m.found -> 'treated' ->> 'units')::int + (m.found -> 'control' ->> 'units')::int, s.verdict, s.taken_at
    from seen s join tried t using (experiment_id)
    cross join jsonb_array_elements(s.analysis -> 'analysis' -> 'metrics') as m (found)
)
select v.policy_id, v.version as policy_version, w.version as against_version, l.*
from lines l
join policy_versions v on v.policy_version_id = l.policy_version_id
join policy_versions w on w.policy_version_id = l.against_id;
comment on view offline_online_ledger is
    'One row for each version, side and metric: the advantage over the version that it was compared with, in the '
    'metric''s unit, positive = better. Offline from the gate report: lower and upper are one-sided bounds, each at the '
    'gate''s alpha. Online from the last look at the test or holdback: a two-sided confidence sequence at the spec''s alpha.';

-- As in 0007: a function of ours looks into temporary tables last, whoever calls it.
do $$
declare
    each record;
begin
    for each in
        select p.oid::regprocedure as name from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proconfig is not null
    loop
        execute format('alter function %s set search_path = %I, pg_temp', each.name, current_schema());
    end loop;
end $$;
