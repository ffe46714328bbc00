-- The tables of the loop, in the way of the data (docs/architecture.md, "The tables").
-- Everything is created in the schema that comes first on the search path (setting `schema`, 'exp' by default).

-- Functions keep the search path of this migration: a guard looks at our tables, whoever writes from wherever.

create function refuse_change() returns trigger language plpgsql as $$
begin
    if current_setting('bakeoff.erasure', true) = 'on' then
        return case tg_op when 'DELETE' then old else new end;
    end if;
    raise exception '% is append-only: % is refused', tg_table_name, tg_op using errcode = 'BK005';
end $$;
comment on function refuse_change is
    'Erasing a unit is the one way to change what is append-only: set local bakeoff.erasure = ''on''.';

-- ---- what a policy decides on -------------------------------------------------------------------------------

create table requests (
    digest          text primary key check (digest like 'sha256:%'),
    task            text not null,
    request_version text not null,
    body            json not null
);
comment on table requests is 'Every request as it was when the policy decided, by content digest.';
comment on column requests.body is 'json, not jsonb: jsonb rewrites numbers (1e16, -0.0), and the digest would not match.';
create trigger requests_append_only before update or delete on requests for each row execute function refuse_change();
create trigger requests_no_truncate before truncate on requests for each statement execute function refuse_change();

-- ---- policies -----------------------------------------------------------------------------------------------

create table policies (
    policy_id text primary key,
    task      text not null
);

create table policy_versions (
    policy_version_id    uuid primary key,
    policy_id            text not null references policies,
    version              int not null check (version > 0),
    spec                 jsonb not null,
    fingerprint          text not null check (fingerprint like 'sha256:%'),
    config_defaults      jsonb not null default '{}',
    mlflow_model_name    text,
    mlflow_model_version text,
    mlflow_run_id        text,
    dataset_digest       text,
    status               text not null
        check (status in ('registered', 'candidate', 'approved', 'production', 'retired', 'rejected')),
    created_at           timestamptz not null,
    unique (policy_id, version),
    unique (policy_id, fingerprint),
    check ((mlflow_model_name is null) = (mlflow_model_version is null))
);
comment on column policy_versions.spec is 'PolicySpec: model or function + prompt + decoding + engine.';

alter table policies add column last_resort uuid references policy_versions;
comment on column policies.last_resort is 'The python version that answers when the assigned one fails, is slow or cannot be repaired.';

create table policy_status_moves (
    old text not null,
    new text not null,
    primary key (old, new)
);
insert into policy_status_moves values
    ('registered', 'candidate'), ('registered', 'rejected'), ('registered', 'approved'),
    ('candidate', 'approved'), ('candidate', 'rejected'), ('candidate', 'registered'),
    ('approved', 'production'), ('approved', 'rejected'), ('approved', 'candidate'),
    ('production', 'retired'), ('retired', 'production');

create function policy_version_guard() returns trigger language plpgsql set search_path from current as $$
declare
    known text;
begin
    if tg_op = 'INSERT' then
        if new.status <> 'registered' then
            raise exception 'a policy version begins as registered, not as %', new.status using errcode = 'BK001';
        end if;
        return new;
    end if;
    known := format('policy version %s/%s', old.policy_id, old.version);
    if (to_jsonb(old) - 'status') is distinct from (to_jsonb(new) - 'status') then
        raise exception '% is immutable; create a new version', known using errcode = 'BK001';
    end if;
    if old.status = new.status then
        return new;
    end if;
    if not exists (select from policy_status_moves m where m.old = old.status and m.new = new.status) then
        raise exception '% cannot go from % to %', known, old.status, new.status using errcode = 'BK001';
    end if;
    if old.status = 'registered' and new.status = 'candidate' and not exists (
        select from gate_reports r
        where r.policy_version_id = new.policy_version_id and r.fingerprint = new.fingerprint and r.verdict = 'PASS'
    ) then
        raise exception '% has no gate report that says PASS', known using errcode = 'BK001';
    end if;
    if new.status = 'approved' and not exists (
        select from approvals a where a.policy_version_id = new.policy_version_id and a.voided_at is null
    ) then
        raise exception '% is not approved by anybody', known using errcode = 'BK001';
    end if;
    if new.status = 'production' and not is_promoted(new.policy_version_id)
       and not (old.status = 'approved' and is_adopted(new.policy_version_id)) then
        raise exception '% was neither adopted nor promoted last', known using errcode = 'BK001';
    end if;
    return new;
end $$;
create trigger policy_version_guard before insert or update on policy_versions
    for each row execute function policy_version_guard();
create trigger policy_versions_no_delete before delete on policy_versions
    for each row execute function refuse_change();

-- ---- what was learnt from, what a policy would have done ------------------------------------------------------

create table datasets (
    digest       text primary key check (digest like 'sha256:%'),
    task         text not null,
    uri          text not null unique,
    window_since timestamptz not null,
    window_until timestamptz not null,
    rows         int not null,
    summary      jsonb not null,
    mlflow_run_id text,
    created_at   timestamptz not null
);

create table replays (
    replay_id         uuid primary key,
    policy_version_id uuid not null references policy_versions,
    fingerprint       text not null,
    dataset_digest    text not null references datasets,
    selection         jsonb not null,
    engine            jsonb not null,
    status            text not null check (status in ('running', 'done')),
    certificate       jsonb,
    aggregates        jsonb,
    digest            text,
    started_at        timestamptz not null,
    finished_at       timestamptz,
    check ((status = 'done') = (digest is not null and finished_at is not null))
);
comment on column replays.digest is 'Over logical content: rows in canonical order without wall-clock values.';

create table offline_replay_results (
    replay_id     uuid not null references replays,
    example_id    text not null,
    repeat        int not null default 0,
    unit_id       text not null,
    raw_answer    text not null,
    parsed_answer jsonb,
    answer        jsonb,
    violations    jsonb not null,
    metrics       jsonb not null,
    prompt_tokens int not null,
    completion_tokens int not null,
    latency_s     double precision not null,
    cost          double precision not null,
    answer_digest text not null,
    primary key (replay_id, example_id, repeat)
);
create trigger results_append_only before update or delete on offline_replay_results
    for each row execute function refuse_change();

-- ---- what is allowed ------------------------------------------------------------------------------------------

create table gate_reports (
    digest             text primary key check (digest like 'sha256:%'),
    policy_version_id  uuid not null references policy_versions,
    incumbent_version_id uuid not null references policy_versions,
    fingerprint        text not null,
    dataset_digest     text not null references datasets,
    gate_digest        text not null,
    verdict            text not null check (verdict in ('PASS', 'FAIL', 'INCONCLUSIVE')),
    report             jsonb not null,
    attempt            int not null,
    created_at         timestamptz not null
);
create trigger reports_append_only before update or delete on gate_reports
    for each row execute function refuse_change();
create trigger reports_no_truncate before truncate on gate_reports for each statement execute function refuse_change();

create table approvals (
    approval_id       uuid primary key,
    policy_version_id uuid not null references policy_versions,
    kind              text not null check (kind in ('signed', 'adopted')),
    report_digest     text references gate_reports,
    fingerprint       text not null,
    signed_by         text not null check (signed_by <> ''),
    note              text not null check (note <> ''),
    signed_at         timestamptz not null,
    expires_at        timestamptz,
    voided_at         timestamptz,
    void_reason       text,
    check ((kind = 'signed') = (report_digest is not null)),
    check ((voided_at is null) = (void_reason is null))
);
create unique index one_live_approval on approvals (policy_version_id) where voided_at is null;

create function approval_guard() returns trigger language plpgsql set search_path from current as $$
declare
    version policy_versions;
    report gate_reports;
begin
    select * into version from policy_versions v where v.policy_version_id = new.policy_version_id;
    if new.fingerprint <> version.fingerprint then
        raise exception 'the approval covers % but policy version %/% is %',
            new.fingerprint, version.policy_id, version.version, version.fingerprint using errcode = 'BK002';
    end if;
    if new.kind = 'signed' then
        select * into report from gate_reports r where r.digest = new.report_digest;
        if report.policy_version_id <> new.policy_version_id or report.fingerprint <> new.fingerprint then
            raise exception 'report % judges another policy version', new.report_digest using errcode = 'BK002';
        end if;
        if report.verdict <> 'PASS' then
            raise exception 'report % says %, only PASS can be approved', new.report_digest, report.verdict
                using errcode = 'BK002';
        end if;
    elsif serves_default(version.policy_id) and not is_in_default(new.policy_version_id) then
        raise exception 'policy % serves already; only what it started from is adopted, version % needs a gate report',
            version.policy_id, version.version using errcode = 'BK002';
    end if;
    return new;
end $$;
create trigger approval_guard before insert on approvals for each row execute function approval_guard();

create function approval_frozen() returns trigger language plpgsql as $$
begin
    if (to_jsonb(old) - 'voided_at' - 'void_reason') is distinct from (to_jsonb(new) - 'voided_at' - 'void_reason')
       or old.voided_at is not null then
        raise exception 'an approval can only be voided, once' using errcode = 'BK002';
    end if;
    return new;
end $$;
create trigger approval_frozen before update on approvals for each row execute function approval_frozen();
create trigger approvals_no_delete before delete on approvals for each row execute function refuse_change();
create trigger approvals_no_truncate before truncate on approvals for each statement execute function refuse_change();

create function is_adopted(target uuid) returns boolean language sql stable set search_path from current as $$
    select exists (
        select from approvals a where a.policy_version_id = target and a.kind = 'adopted' and a.voided_at is null
    )
$$;

create function has_valid_approval(target uuid, moment timestamptz) returns boolean
language sql stable set search_path from current as $$
    select exists (
        select from approvals a
        join policy_versions v using (policy_version_id)
        where a.policy_version_id = target and a.voided_at is null and a.fingerprint = v.fingerprint
          and a.signed_at <= moment and (a.expires_at is null or a.expires_at > moment)
    )
$$;

-- ---- what it does to real people ------------------------------------------------------------------------------

create table experiments (
    experiment_id uuid primary key,
    policy_id     text not null references policies,
    kind          text not null check (kind in ('default', 'test')),
    spec          jsonb not null,
    spec_digest   text not null,
    status        text not null check (status in ('created', 'running', 'shipped', 'rolled_back', 'kept', 'stopped')),
    reason        text,
    created_at    timestamptz not null,
    started_at    timestamptz,
    ended_at      timestamptz,
    check (kind = 'test' or status in ('created', 'running'))
);
create unique index one_default_experiment on experiments (policy_id) where kind = 'default';
create unique index one_running_experiment on experiments (policy_id) where kind = 'test' and status = 'running';

create function experiment_guard() returns trigger language plpgsql set search_path from current as $$
begin
    if (old.experiment_id, old.policy_id, old.kind, old.spec, old.spec_digest, old.created_at) is distinct from
       (new.experiment_id, new.policy_id, new.kind, new.spec, new.spec_digest, new.created_at) then
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
create trigger experiment_guard before update on experiments for each row execute function experiment_guard();

create table variants (
    variant_id        uuid primary key,
    experiment_id     uuid not null references experiments,
    name              text not null,
    role              text not null check (role in ('incumbent', 'explorer', 'control', 'treated')),
    policy_version_id uuid not null references policy_versions,
    config            jsonb not null,
    unique (experiment_id, name),
    unique (variant_id, experiment_id, policy_version_id),
    check (config ->> 'policy_version_id' = policy_version_id::text)
);
comment on column variants.config is 'Carries policy_version_id, as the orchestration layer reads it.';
create trigger variants_append_only before update or delete on variants for each row execute function refuse_change();
create trigger variants_no_truncate before truncate on variants for each statement execute function refuse_change();

create table monitor_snapshots (
    snapshot_id   uuid primary key,
    experiment_id uuid not null references experiments,
    phase_number  int not null,
    verdict       text not null check (verdict in ('advance', 'hold', 'rollback', 'ship', 'keep')),
    reason        text not null,
    analysis      jsonb not null,
    taken_at      timestamptz not null
);
create index monitor_snapshots_of on monitor_snapshots (experiment_id, taken_at);
create trigger snapshots_append_only before update or delete on monitor_snapshots
    for each row execute function refuse_change();
create trigger snapshots_no_truncate before truncate on monitor_snapshots
    for each statement execute function refuse_change();

create table promotions (
    promotion_id      uuid primary key,
    policy_id         text not null references policies,
    number            int not null,
    policy_version_id uuid not null references policy_versions,
    replaces          uuid references policy_versions,
    kind              text not null check (kind in ('promotion', 'rollback')),
    experiment_id     uuid references experiments,
    snapshot_id       uuid references monitor_snapshots,
    signed_by         text not null check (signed_by <> ''),
    reason            text not null check (reason <> ''),
    promoted_at       timestamptz not null,
    unique (policy_id, number)
);
create trigger promotions_append_only before update or delete on promotions
    for each row execute function refuse_change();
create trigger promotions_no_truncate before truncate on promotions for each statement execute function refuse_change();

create function is_promoted(target uuid, by_kind text default null) returns boolean
language sql stable set search_path from current as $$
    -- The last promotion or rollback of its policy names it.
    select coalesce((
        select m.policy_version_id = target and m.kind = coalesce(by_kind, m.kind) from promotions m
        join policy_versions v on v.policy_id = m.policy_id and v.policy_version_id = target
        order by m.number desc limit 1
    ), false)
$$;

create function promotion_guard() returns trigger language plpgsql set search_path from current as $$
declare
    last int;
begin
    select coalesce(max(m.number), 0) into last from promotions m where m.policy_id = new.policy_id;
    if new.number <> last + 1 then
        raise exception 'promotion % of % does not follow %', new.number, new.policy_id, last using errcode = 'BK004';
    end if;
    if not exists (select from policy_versions v
                   where v.policy_version_id = new.policy_version_id and v.policy_id = new.policy_id) then
        raise exception 'a promotion names a version of its own policy' using errcode = 'BK004';
    end if;
    if new.kind = 'promotion' and not exists (
        select from monitor_snapshots s
        join experiments e on e.experiment_id = s.experiment_id
        join variants v on v.experiment_id = e.experiment_id and v.role = 'treated'
        where s.snapshot_id = new.snapshot_id and s.experiment_id = new.experiment_id
          and s.verdict = 'ship' and v.policy_version_id = new.policy_version_id
          and not exists (select from monitor_snapshots later where later.experiment_id = s.experiment_id
                          and later.taken_at > s.taken_at and later.verdict = 'rollback')
    ) then
        raise exception 'a promotion needs a monitor snapshot that says ship for this policy version'
            using errcode = 'BK004';
    end if;
    if new.kind = 'rollback' and not exists (
        select from policy_versions v where v.policy_version_id = new.policy_version_id
          and v.status in ('retired', 'production')
    ) then
        raise exception 'a rollback goes back to a version that was in production' using errcode = 'BK004';
    end if;
    return new;
end $$;
create trigger promotion_guard before insert on promotions for each row execute function promotion_guard();

create table phases (
    phase_id           uuid primary key,
    experiment_id      uuid not null references experiments,
    number             int not null check (number > 0),
    treated_variant_id uuid references variants,  -- default experiment: its explorer
    control_variant_id uuid not null references variants,  -- default experiment: its incumbent
    treated_bp         int not null check (treated_bp between 0 and 5000),
    snapshot_id        uuid references monitor_snapshots,
    began_at           timestamptz not null,
    unique (experiment_id, number),
    check (treated_variant_id is not null or treated_bp = 0)
);
comment on column phases.treated_bp is
    'Treated share in basis points of the unit hash space; a test''s control gets an equal disjoint range.';
create trigger phases_append_only before update or delete on phases for each row execute function refuse_change();
create trigger phases_no_truncate before truncate on phases for each statement execute function refuse_change();

create function serves_default(policy text) returns boolean language sql stable set search_path from current as $$
    select exists (
        select from experiments e join phases p using (experiment_id) where e.policy_id = policy and e.kind = 'default'
    )
$$;

create function is_in_default(target uuid) returns boolean language sql stable set search_path from current as $$
    select exists (
        select from experiments e join variants v using (experiment_id)
        where e.kind = 'default' and v.policy_version_id = target
    )
$$;

create function serves_everyone(target uuid) returns boolean language sql stable set search_path from current as $$
    select exists (
        select from experiments e
        join phases p using (experiment_id)
        join variants v on v.variant_id = p.control_variant_id
        where e.kind = 'default' and v.policy_version_id = target
          and p.number = (select max(l.number) from phases l where l.experiment_id = e.experiment_id)
    )
$$;

create function check_arm(arm variants, wanted_role text, experiment experiments, moment timestamptz)
returns void language plpgsql stable set search_path from current as $$
declare
    served policy_versions;
    standing boolean;
begin
    select * into served from policy_versions p where p.policy_version_id = arm.policy_version_id;
    if arm.experiment_id <> experiment.experiment_id or arm.role <> wanted_role then
        raise exception 'a phase serves variants of its own experiment, in their roles: % is the % of experiment %',
            arm.name, arm.role, arm.experiment_id using errcode = 'BK003';
    end if;
    if served.policy_id <> experiment.policy_id then
        raise exception 'an experiment serves versions of its own policy' using errcode = 'BK003';
    end if;
    -- Two ways are not shut by the calendar, as long as nobody voided the approval: back to what served before,
    -- and what serves everyone going on to do so, or being the control of a test.
    standing := exists (select from approvals a where a.policy_version_id = served.policy_version_id
                        and a.voided_at is null);
    if not has_valid_approval(served.policy_version_id, moment)
       and not (standing and wanted_role in ('incumbent', 'control') and serves_everyone(served.policy_version_id))
       and not (standing and wanted_role = 'incumbent' and is_promoted(served.policy_version_id, 'rollback')) then
        raise exception 'policy version %/% has no valid approval, so it gets no traffic',
            served.policy_id, served.version using errcode = 'BK003';
    end if;
    if wanted_role = 'incumbent' and not is_promoted(served.policy_version_id)
       and not serves_everyone(served.policy_version_id)
       and not (is_adopted(served.policy_version_id)
                and not exists (select from promotions m where m.policy_id = served.policy_id))
       or wanted_role = 'explorer' and not is_adopted(served.policy_version_id)
       and not exists (select from promotions m where m.policy_version_id = served.policy_version_id) then
        raise exception 'policy version %/% was neither adopted nor promoted, so it cannot serve everyone',
            served.policy_id, served.version using errcode = 'BK003';
    end if;
end $$;

create function phase_guard() returns trigger language plpgsql set search_path from current as $$
declare
    experiment experiments;
    previous phases;
    arm variants;
begin
    select * into experiment from experiments e where e.experiment_id = new.experiment_id;
    select * into previous from phases p where p.experiment_id = new.experiment_id order by number desc limit 1;
    if experiment.status not in ('created', 'running') then
        raise exception 'the experiment is %, so it gets no further phase', experiment.status using errcode = 'BK003';
    end if;
    if new.number <> coalesce(previous.number, 0) + 1 or new.began_at < previous.began_at then
        raise exception 'phase % does not follow phase %', new.number, coalesce(previous.number, 0)
            using errcode = 'BK003';
    end if;
    for arm in select * from variants v where v.variant_id = new.control_variant_id loop
        perform check_arm(arm, case experiment.kind when 'default' then 'incumbent' else 'control' end,
                          experiment, new.began_at);
    end loop;
    for arm in select * from variants v where v.variant_id = new.treated_variant_id loop
        perform check_arm(arm, case experiment.kind when 'default' then 'explorer' else 'treated' end,
                          experiment, new.began_at);
    end loop;
    if experiment.kind = 'test' then
        if previous.phase_id is null and new.treated_bp > 1000 then
            raise exception 'the first phase of a version is at most 1000 basis points (10 %%), not %', new.treated_bp
                using errcode = 'BK003';
        end if;
        if previous.phase_id is not null and not exists (
            select from monitor_snapshots s
            where s.snapshot_id = new.snapshot_id and s.experiment_id = new.experiment_id
              and s.verdict = 'advance' and s.phase_number = previous.number
              and s.taken_at > previous.began_at and s.taken_at <= new.began_at
              and new.treated_bp <= (s.analysis -> 'advice' ->> 'next_treated_bp')::int
        ) then
            raise exception
                'phase % at % basis points needs a monitor snapshot ''advance'' to as much, taken after phase % began',
                new.number, new.treated_bp, previous.number using errcode = 'BK003';
        end if;
    end if;
    return new;
end $$;
create trigger phase_guard before insert on phases for each row execute function phase_guard();

create table exposures (
    experiment_id          uuid not null,
    unit_id                text not null,
    variant_id             uuid not null,
    policy_version_id      uuid not null,
    phase                  int not null,
    bucket                 int not null check (bucket between 0 and 9999),
    assignment_probability double precision not null check (assignment_probability > 0 and assignment_probability <= 1),
    hash_version           text not null,
    occurred_at            timestamptz not null,
    primary key (experiment_id, unit_id),
    foreign key (variant_id, experiment_id, policy_version_id)
        references variants (variant_id, experiment_id, policy_version_id)
);
comment on table exposures is 'A unit first met a variant of a test; persisted, so narrowing never moves it.';
create trigger exposures_append_only before update or delete on exposures
    for each row execute function refuse_change();
create trigger exposures_no_truncate before truncate on exposures for each statement execute function refuse_change();

-- ---- what happened ----------------------------------------------------------------------------------------------

create table events (
    event_id                 uuid primary key,
    content_digest           text not null,
    event_type               text not null,
    role                     text not null
        check (role in ('decision', 'accept', 'edit', 'reject', 'regenerate', 'intervention', 'kept')),
    task                     text not null,
    unit_id                  text not null check (unit_id <> ''),
    decision_id              uuid not null,
    need_id                  text,
    request_digest           text references requests,
    experiment_id            uuid not null,
    variant_id               uuid not null,
    policy_version_id        uuid not null,
    served_policy_version_id uuid references policy_versions,
    assignment_probability   double precision,
    action_propensity        double precision,
    origin                   text not null default 'live' check (origin in ('live', 'backfill')),
    occurred_at              timestamptz not null,
    received_at              timestamptz not null,
    payload                  jsonb not null,
    foreign key (variant_id, experiment_id, policy_version_id)
        references variants (variant_id, experiment_id, policy_version_id),
    check ((role = 'decision') = (request_digest is not null)),
    check ((role = 'decision') = (need_id is not null)),
    check ((role = 'decision') = (served_policy_version_id is not null))
);
comment on column events.policy_version_id is 'Assigned (intention to treat); who answered is served_policy_version_id.';
create unique index one_decision on events (decision_id) where role = 'decision';
create index events_of_decision on events (decision_id);
create index events_in_time on events (task, occurred_at);
create index events_of_experiment on events (experiment_id, occurred_at) where role = 'decision';
create trigger events_append_only before update or delete on events for each row execute function refuse_change();
create trigger events_no_truncate before truncate on events for each statement execute function refuse_change();

-- ---- read-only views (Metabase, psql) -----------------------------------------------------------------------------

create view event_log as
select e.event_id, e.event_type, e.role, e.unit_id, e.decision_id, e.occurred_at, e.experiment_id, x.kind as experiment_kind,
       e.variant_id, v.name as variant, e.policy_version_id, p.policy_id, p.version as policy_version,
       e.served_policy_version_id is distinct from e.policy_version_id and e.role = 'decision' as fell_back, e.payload
from events e
join experiments x using (experiment_id)
join variants v using (variant_id)
join policy_versions p on p.policy_version_id = e.policy_version_id;
comment on view event_log is 'Every event with the names of its experiment, variant and policy version.';
