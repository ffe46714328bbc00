-- Experiments at full depth: what needs came to, kept beside the log; test units; waivers.

-- ---- the log, read by arrival and by unit ----------------------------------------------------------------------------

create index events_received on events (experiment_id, received_at);
comment on index events_received is 'What is new of a test, and how much there is of it, without reading the rest.';
create index events_of_unit on events (unit_id, occurred_at) where role = 'decision';

-- ---- what needs came to ------------------------------------------------------------------------------------------------

-- Derived from the log, need by need, and therefore neither append-only nor evidence: they may be deleted and are made anew.

create table outcome_folds (
    experiment_id  uuid primary key references experiments,
    shape          text not null,
    metrics        text[] not null,
    received_until timestamptz not null,
    counted        bigint not null check (counted >= 0)
);
comment on table outcome_folds is 'How far the log of a test is folded into need_outcomes.';
comment on column outcome_folds.shape is 'Digest of the metrics and their windows; another one is folded from scratch.';
comment on column outcome_folds.received_until is 'Every event received before it is folded; later ones are read again.';
comment on column outcome_folds.counted is 'Events received before it. If there are more now, some were written late: folded from scratch.';

create table need_outcomes (
    experiment_id uuid not null,
    unit_id       text collate "C" not null,
    need_id       text collate "C" not null,
    variant_id    uuid not null,
    in_two_arms   boolean not null,
    began_at      timestamptz not null,
    measured      double precision[] not null,
    primary key (experiment_id, unit_id, need_id)
);
comment on table need_outcomes is 'One row per need of a test: a pure function of its events, whatever order they came in.';
comment on column need_outcomes.variant_id is 'Of the first decision.';
comment on column need_outcomes.in_two_arms is 'Whether its decisions name more than one variant.';
comment on column need_outcomes.measured is 'In the order of outcome_folds.metrics, each by what happened within its window; null: not applicable.';

create table unit_baselines (
    experiment_id uuid not null,
    unit_id       text collate "C" not null,
    sums          double precision[] not null,
    needs         int[] not null,
    primary key (experiment_id, unit_id)
);
comment on table unit_baselines is 'What a unit did in the weeks before it met the test, as it was known then (CUPED). Empty arrays: nothing.';

create view decisions_before_exposure as
select x.experiment_id, x.unit_id, x.occurred_at as exposed_at, d.task, d.need_id, d.decision_id, d.event_id,
       d.request_digest, d.occurred_at
from exposures x
join events d on d.unit_id = x.unit_id and d.role = 'decision'
    and d.occurred_at < x.occurred_at and d.received_at < x.occurred_at
where not exists (select from unit_baselines b where b.experiment_id = x.experiment_id and b.unit_id = x.unit_id);
comment on view decisions_before_exposure is 'What units decided before they met a test, where nobody has looked at their past yet.';

-- ---- tests by the names that people gave them ------------------------------------------------------------------------

alter table experiments add column name text;
comment on column experiments.name is 'As people call it; the id is made of it. Null for tests made before names were kept.';

create or replace function experiment_guard() returns trigger language plpgsql set search_path from current as $$
begin
    if (old.experiment_id, old.policy_id, old.kind, old.name, old.spec, old.spec_digest, old.created_at) is distinct from
       (new.experiment_id, new.policy_id, new.kind, new.name, new.spec, new.spec_digest, new.created_at) then
        raise exception 'an experiment is frozen when it is created; start another one' using errcode = 'BK003';
    end if;
    if old.status <> new.status and (old.status not in ('created', 'running') or new.status = 'created') then
        raise exception 'the experiment is %, it cannot become %', old.status, new.status using errcode = 'BK003';
    end if;
    if new.kind = 'test' and old.status = 'created' and new.status = 'running' and exists (
        select from experiments e
        where e.policy_id = new.policy_id and e.kind = 'test' and e.status = 'running'
    ) then
        raise exception 'policy % has a running test already; one at a time', new.policy_id using errcode = 'BK003';
    end if;
    return new;
end $$;

-- ---- test units --------------------------------------------------------------------------------------------------------

create table forced_variants (
    experiment_id     uuid not null,
    unit_id           text not null check (unit_id <> ''),
    variant_id        uuid not null,
    policy_version_id uuid not null,
    forced_by         text not null check (forced_by <> ''),
    forced_at         timestamptz not null,
    primary key (experiment_id, unit_id),
    foreign key (variant_id, experiment_id, policy_version_id)
        references variants (variant_id, experiment_id, policy_version_id)
);
comment on table forced_variants is 'Units of colleagues and automated checks, put into an arm by hand; left out of every analysis.';
create trigger forced_append_only before update or delete on forced_variants
    for each row execute function refuse_change();
create trigger forced_no_truncate before truncate on forced_variants
    for each statement execute function refuse_change();

create function forced_guard() returns trigger language plpgsql set search_path from current as $$
begin
    if exists (select from exposures e where e.experiment_id = new.experiment_id and e.unit_id = new.unit_id) then
        raise exception 'unit % has met the test already, so it stays in its arm', new.unit_id using errcode = 'BK003';
    end if;
    return new;
end $$;
create trigger forced_guard before insert on forced_variants for each row execute function forced_guard();

alter table exposures add column forced boolean not null default false;
comment on column exposures.forced is 'Put into its arm by hand: counted, and left out of the analysis.';

-- ---- waivers -----------------------------------------------------------------------------------------------------------

create table waivers (
    waiver_id     uuid primary key,
    experiment_id uuid not null references experiments,
    phase_number  int not null check (phase_number > 0),
    rule          text not null check (rule in ('dwell', 'minimum_units')),
    signed_by     text not null check (signed_by <> ''),
    reason        text not null check (reason <> ''),
    given_at      timestamptz not null,
    unique (experiment_id, phase_number, rule)
);
comment on table waivers is
    'A person widens a test before a rule would: only how long a phase lasts and how many units it needs can be waived, '
    'for one phase; never harm, an uneven split, the first phase of 10 %, or shipping.';
create trigger waivers_append_only before update or delete on waivers for each row execute function refuse_change();
create trigger waivers_no_truncate before truncate on waivers for each statement execute function refuse_change();

create function waiver_guard() returns trigger language plpgsql set search_path from current as $$
begin
    if not exists (
        select from experiments e where e.experiment_id = new.experiment_id and e.kind = 'test' and e.status = 'running'
    ) or new.phase_number is distinct from (
        select max(p.number) from phases p where p.experiment_id = new.experiment_id
    ) then
        raise exception 'a waiver is for the phase that a running test is in' using errcode = 'BK003';
    end if;
    return new;
end $$;
create trigger waiver_guard before insert on waivers for each row execute function waiver_guard();

create function snapshot_guard() returns trigger language plpgsql set search_path from current as $$
declare
    seen jsonb := new.analysis -> 'analysis';
    waived jsonb := coalesce(new.analysis -> 'advice' -> 'waived', '[]');
    harmed text;
    missing text;
begin
    if new.verdict not in ('advance', 'ship') then
        return new;
    end if;
    if (seen ->> 'srm_alarm')::boolean then
        raise exception 'units arrive unevenly in the two arms, so this look cannot say %', new.verdict
            using errcode = 'BK003';
    end if;
    select m ->> 'metric' into harmed
    from experiments e cross join jsonb_array_elements(seen -> 'metrics') m
    where e.experiment_id = new.experiment_id and (m ->> 'harm_below')::double precision < 0
      and (m ->> 'metric' = e.spec ->> 'primary' or exists (
          select from jsonb_array_elements(e.spec -> 'guardrails') g where g ->> 'metric' = m ->> 'metric'))
    limit 1;
    if harmed is not null then
        raise exception '% is harmed, so this look cannot say %', harmed, new.verdict using errcode = 'BK003';
    end if;
    if new.verdict = 'ship' and jsonb_array_length(waived) > 0 then
        raise exception 'shipping needs every rule; none can be waived' using errcode = 'BK003';
    end if;
    select r.named into missing from jsonb_array_elements_text(waived) as r(named)
    where not exists (
        select from waivers w where w.experiment_id = new.experiment_id and w.phase_number = new.phase_number
          and w.rule = r.named and w.given_at <= new.taken_at)
    limit 1;
    if missing is not null then
        raise exception 'nobody signed a waiver of % for phase %', missing, new.phase_number using errcode = 'BK003';
    end if;
    return new;
end $$;
create trigger snapshot_guard before insert on monitor_snapshots for each row execute function snapshot_guard();

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
