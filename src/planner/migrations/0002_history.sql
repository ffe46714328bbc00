-- What the application knew at any moment: system-time history of the planner's own tables, and what people asked for.
--
-- The model is the system-versioned table of SQL:2011 (Kulkarni and Michels 2012, doi 10.1145/2380776.2380786), which
-- PostgreSQL lacks: beside each table lies a history with a half-open period [known_from, known_until) of system time,
-- written by triggers and by nothing else. What was known at t: known_from <= t and t < known_until.
-- As in the standard, a row's time is the start of the transaction that wrote it, and versions that lived for no time
-- (two changes in one transaction) are not kept.

create function planner.known_at() returns timestamptz language sql stable as $$
    select coalesce(nullif(current_setting('planner.clock', true), '')::timestamptz, transaction_timestamp())
$$;
comment on function planner.known_at is
    'System time of a change. Simulations set it for their transaction: select set_config(''planner.clock'', ..., true).';

create function planner.keep_history() returns trigger language plpgsql as $$
-- Arguments: the key columns. A row travels as jsonb, so that columns added to both tables later may come in any order.
declare
    history text := format('%I.%I', tg_table_schema, tg_table_name || '_history');
    key_is text := (select string_agg(format('h.%1$I = ($1).%1$I', k), ' and ') from unnest(tg_argv) k);
    moment timestamptz := planner.known_at();
    latest timestamptz;
begin
    if tg_op = 'UPDATE' and old is not distinct from new then
        return null;
    elsif tg_op = 'INSERT' then
        old := new;  -- a key may come back after it was deleted
    end if;
    execute format('select max(case when known_until = ''infinity'' then known_from else known_until end) '
                   'from %s h where %s', history, key_is) into latest using old;
    if latest > moment then
        if coalesce(current_setting('planner.clock', true), '') <> '' then
            raise exception 'planner.clock says %, but % has a later change of this row: %', moment, tg_table_name, latest
                using errcode = 'BK007';
        end if;
        moment := latest + interval '1 microsecond';  -- of a transaction that began later and ended earlier
    end if;
    execute format('delete from %s h where %s and known_until = ''infinity'' and known_from = $2', history, key_is)
        using old, moment;
    execute format('update %s h set known_until = $2 where %s and known_until = ''infinity''', history, key_is)
        using old, moment;
    if tg_op <> 'DELETE' then
        execute format('insert into %1$s select (jsonb_populate_record(null::%1$s, $1)).*', history)
            using to_jsonb(new) || jsonb_build_object('known_from', moment, 'known_until', 'infinity');
    end if;
    return null;
end $$;

create function planner.refuse() returns trigger language plpgsql as $$
begin
    raise exception '% of planner.% is refused: what was known would be lost', tg_op, tg_table_name using errcode = 'BK007';
end $$;

-- ---- what a request needs beyond the first tables ----------------------------------------------------------------

alter table planner.recipes add column short text;
update planner.recipes set short = left(title, 24);
alter table planner.recipes alter column short set not null;
comment on column planner.recipes.short is 'the title that requests carry: at most 24 ASCII characters';

create table planner.ratings (
    recipe_id text primary key references planner.recipes on delete cascade,
    stars double precision not null check (stars between 1 and 5)
);
comment on table planner.ratings is 'mean stars of everybody; a recipe without a row was not rated yet';

alter table planner.plans alter column accepted_at drop not null;
alter table planner.plans alter column built_by drop not null;
alter table planner.plans drop constraint plans_built_by_check;
alter table planner.plans add constraint plans_built_by_check check (built_by in ('edited', 'unaided', 'timeout'));
alter table planner.plans add column removed text[] not null default '{}';
comment on table planner.plans is
    'what came of a week; a row without built_by: a plan was proposed and nothing accepted (yet). Events hold how it came about';
comment on column planner.plans.removed is 'recipes that were shown for this week and taken out';

create table planner.asks (
    household_id uuid not null references planner.households on delete cascade,
    week_start date not null,
    asked_at timestamptz not null,
    workflow_type text not null check (workflow_type in ('plan-first', 'meal-first', 'pantry-first')),
    mode text not null check (mode in ('autopilot', 'exploratory', 'constrained')),
    anchors text[] not null default '{}',
    options text[] not null,
    primary key (household_id, week_start, asked_at)
);
comment on table planner.asks is
    'what somebody asked for, and which recipes they were offered, in that order. It happened, so it never changes: no history';
create trigger asks_are_facts before update on planner.asks for each row execute function planner.refuse();

-- ---- history -----------------------------------------------------------------------------------------------------

create table planner.households_history (
    like planner.households,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (household_id, known_from),
    check (known_from < known_until)
);
create table planner.members_history (
    like planner.members,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (member_id, known_from),
    check (known_from < known_until)
);
create index members_history_of_household on planner.members_history (household_id, known_from);
create table planner.pantry_items_history (
    like planner.pantry_items,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (household_id, item, known_from),
    check (known_from < known_until)
);
create table planner.constraints_history (
    like planner.constraints,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (household_id, day, known_from),
    check (known_from < known_until)
);
create table planner.plans_history (
    like planner.plans,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (household_id, week_start, known_from),
    check (known_from < known_until)
);
create table planner.recipes_history (
    like planner.recipes,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (recipe_id, known_from),
    check (known_from < known_until)
);
create table planner.ratings_history (
    like planner.ratings,
    known_from timestamptz not null,
    known_until timestamptz not null default 'infinity',
    primary key (recipe_id, known_from),
    check (known_from < known_until)
);

-- What was there before is known from now on: nobody can say since when.
insert into planner.households_history select *, planner.known_at() from planner.households;
insert into planner.members_history select *, planner.known_at() from planner.members;
insert into planner.pantry_items_history select *, planner.known_at() from planner.pantry_items;
insert into planner.constraints_history select *, planner.known_at() from planner.constraints;
insert into planner.plans_history select *, planner.known_at() from planner.plans;
insert into planner.recipes_history select *, planner.known_at() from planner.recipes;

create trigger keep_history after insert or update or delete on planner.households
    for each row execute function planner.keep_history('household_id');
create trigger keep_history after insert or update or delete on planner.members
    for each row execute function planner.keep_history('member_id');
create trigger keep_history after insert or update or delete on planner.pantry_items
    for each row execute function planner.keep_history('household_id', 'item');
create trigger keep_history after insert or update or delete on planner.constraints
    for each row execute function planner.keep_history('household_id', 'day');
create trigger keep_history after insert or update or delete on planner.plans
    for each row execute function planner.keep_history('household_id', 'week_start');
create trigger keep_history after insert or update or delete on planner.recipes
    for each row execute function planner.keep_history('recipe_id');
create trigger keep_history after insert or update or delete on planner.ratings
    for each row execute function planner.keep_history('recipe_id');

create trigger no_truncate before truncate on planner.households for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.members for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.pantry_items for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.constraints for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.plans for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.recipes for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.ratings for each statement execute function planner.refuse();
create trigger no_truncate before truncate on planner.asks for each statement execute function planner.refuse();
