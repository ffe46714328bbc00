-- An application answered before bakeoff came. Adopting it is signed today and covers what it did since a day in the
-- past: `signed_at` stays the truth about the signature, `covers_from` says from when on the version served.
-- Nothing else is opened: only an adoption of a version of engine 'logged' (which bakeoff cannot serve, so no traffic
-- can be allowed behind anybody's back) covers a past, and only for the very first phase of its policy's default.

alter table approvals add column covers_from timestamptz;
alter table approvals add constraint covers_the_past
    check (covers_from is null or (kind = 'adopted' and covers_from <= signed_at));
comment on column approvals.covers_from is
    'What was there before bakeoff: it served from this moment on, though the signature (signed_at) is later.';

create function covers_guard() returns trigger language plpgsql set search_path from current as $$
declare
    version policy_versions;
begin
    select * into version from policy_versions v where v.policy_version_id = new.policy_version_id;
    if version.spec ->> 'engine' is distinct from 'logged' then
        raise exception 'policy version %/% is answered by bakeoff, so its adoption covers no past; only the application itself was there before',
            version.policy_id, version.version using errcode = 'BK002';
    end if;
    if serves_default(version.policy_id) and not exists (
        -- The same again after it was voided; the past that it covers stays what it was.
        select from approvals a where a.policy_version_id = new.policy_version_id and a.covers_from = new.covers_from
    ) then
        raise exception 'policy % serves already, so the adoption of version % covers no past',
            version.policy_id, version.version using errcode = 'BK002';
    end if;
    return new;
end $$;
create trigger covers_guard before insert on approvals for each row when (new.covers_from is not null)
    execute function covers_guard();

create function was_there_before(target uuid, moment timestamptz) returns boolean
language sql stable set search_path from current as $$
    -- Whether a living adoption covers `moment`, which must be that of the first phase that its policy ever got.
    select exists (
        select from approvals a
        join policy_versions v using (policy_version_id)
        where a.policy_version_id = target and a.kind = 'adopted' and a.voided_at is null
          and a.fingerprint = v.fingerprint and v.spec ->> 'engine' = 'logged'
          and a.covers_from <= moment and not serves_default(v.policy_id)
    )
$$;

-- As in 0001, but for the one way that `was_there_before` opens to the incumbent.
create or replace function check_arm(arm variants, wanted_role text, experiment experiments, moment timestamptz)
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
    -- Three ways are not shut by the calendar, as long as nobody voided the approval: back to what served before,
    -- what serves everyone going on to do so, or being the control of a test, and what was there before bakeoff.
    standing := exists (select from approvals a where a.policy_version_id = served.policy_version_id
                        and a.voided_at is null);
    if not has_valid_approval(served.policy_version_id, moment)
       and not (standing and wanted_role in ('incumbent', 'control') and serves_everyone(served.policy_version_id))
       and not (standing and wanted_role = 'incumbent' and is_promoted(served.policy_version_id, 'rollback'))
       and not (wanted_role = 'incumbent' and was_there_before(served.policy_version_id, moment)) then
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
    if wanted_role in ('treated', 'explorer') and served.spec ->> 'engine' = 'logged' then
        raise exception 'policy version %/% is the application itself: it can be the incumbent and the control, nothing else',
            served.policy_id, served.version using errcode = 'BK003';
    end if;
end $$;
