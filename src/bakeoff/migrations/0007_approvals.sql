-- A signature says what it covers, a rejection is a person's word too, and at work the two are written by another role
-- than everything else (`bakeoff db roles`). Whatever follows from a person's word follows here, by triggers that act
-- with the owner's rights: so the role that may sign needs no right but to insert.

alter table approvals add column covers jsonb;
comment on column approvals.covers is
    'Digests of what was judged, as they were when it was signed; compared again before traffic. Null for adoptions.';

create table rejections (
    rejection_id      uuid primary key,
    policy_version_id uuid not null unique references policy_versions,
    report_digest     text not null references gate_reports,
    rejected_by       text not null check (rejected_by <> ''),
    reason            text not null check (reason <> ''),
    rejected_at       timestamptz not null
);
comment on table rejections is 'A person turned a version down, and why; it gets no approval and no traffic any more.';
create trigger rejections_append_only before update or delete on rejections
    for each row execute function refuse_change();
create trigger rejections_no_truncate before truncate on rejections for each statement execute function refuse_change();

-- ---- what follows from a person's word ------------------------------------------------------------------------------

create function void_approval(target uuid, moment timestamptz, why text) returns void
language plpgsql security definer set search_path from current as $$
begin
    update approvals set voided_at = moment, void_reason = why
    where policy_version_id = target and voided_at is null;
    update policy_versions set status = 'candidate' where policy_version_id = target and status = 'approved';
end $$;
comment on function void_approval is
    'Ends the living approval of a version, if there is one. It only ever takes a right away, so the writer may call it.';
revoke execute on function void_approval from public;

create function approval_is_followed() returns trigger
language plpgsql security definer set search_path from current as $$
begin
    update policy_versions set status = 'approved'
    where policy_version_id = new.policy_version_id and status in ('registered', 'candidate');
    return null;
end $$;
create trigger approval_is_followed after insert on approvals for each row execute function approval_is_followed();

create function rejection_guard() returns trigger language plpgsql set search_path from current as $$
declare
    version policy_versions;
begin
    select * into version from policy_versions v where v.policy_version_id = new.policy_version_id;
    if not exists (select from gate_reports r
                   where r.digest = new.report_digest and r.policy_version_id = new.policy_version_id) then
        raise exception 'report % judges another policy version', new.report_digest using errcode = 'BK002';
    end if;
    if version.status not in ('registered', 'candidate', 'approved') then
        raise exception 'policy version %/% is %, it cannot be rejected',
            version.policy_id, version.version, version.status using errcode = 'BK002';
    end if;
    if exists (
        select from experiments e join variants v using (experiment_id)
        where e.kind = 'test' and e.status = 'running' and v.policy_version_id = new.policy_version_id
    ) then
        raise exception 'policy version %/% is in a running test; stop it first', version.policy_id, version.version
            using errcode = 'BK002';
    end if;
    return new;
end $$;
create trigger rejection_guard before insert on rejections for each row execute function rejection_guard();

create function rejection_is_followed() returns trigger
language plpgsql security definer set search_path from current as $$
begin
    perform void_approval(new.policy_version_id, new.rejected_at, 'rejected: ' || new.reason);
    update policy_versions set status = 'rejected' where policy_version_id = new.policy_version_id;
    return null;
end $$;
create trigger rejection_is_followed after insert on rejections for each row execute function rejection_is_followed();

-- ---- a rejected version gets neither a signature nor traffic --------------------------------------------------------

create function approval_of_rejected() returns trigger language plpgsql set search_path from current as $$
declare
    version policy_versions;
begin
    select * into version from policy_versions v where v.policy_version_id = new.policy_version_id;
    if version.status = 'rejected' then
        raise exception 'policy version %/% was rejected; it gets no approval any more',
            version.policy_id, version.version using errcode = 'BK002';
    end if;
    return new;
end $$;
create trigger approval_of_rejected before insert on approvals for each row execute function approval_of_rejected();

create function status_of_rejected() returns trigger language plpgsql set search_path from current as $$
begin
    if not exists (select from rejections r where r.policy_version_id = new.policy_version_id) then
        raise exception 'policy version %/% was rejected by nobody', new.policy_id, new.version using errcode = 'BK001';
    end if;
    return new;
end $$;
create trigger status_of_rejected before update on policy_versions for each row
    when (new.status = 'rejected' and old.status <> 'rejected') execute function status_of_rejected();

create or replace function has_valid_approval(target uuid, moment timestamptz) returns boolean
language sql stable set search_path from current as $$
    select exists (
        select from approvals a
        join policy_versions v using (policy_version_id)
        where a.policy_version_id = target and a.voided_at is null and a.fingerprint = v.fingerprint
          and v.status <> 'rejected'
          and a.signed_at <= moment and (a.expires_at is null or a.expires_at > moment)
    )
$$;

-- ---- guards look at our tables, whatever temporary tables there are -------------------------------------------------

-- PostgreSQL looks into a session's temporary tables first, unless the path names them somewhere else: without this a
-- temporary table called 'approvals' would open the way to traffic for everybody who may make one.
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
