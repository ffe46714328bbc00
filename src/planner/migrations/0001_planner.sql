-- The planner's own tables: what the application knows. Decisions and outcomes lie in the core's event log.
create schema if not exists planner;

create table planner.households (
    household_id uuid primary key,
    region text not null,
    liked_cuisines text[] not null default '{}',
    liked_proteins text[] not null default '{}',
    budget text not null check (budget in ('low', 'mid', 'high')),
    created_at timestamptz not null
);
comment on table planner.households is 'who is planned for, as stated to the application';

create table planner.members (
    member_id uuid primary key,
    household_id uuid not null references planner.households on delete cascade,
    allergies text[] not null default '{}',
    diets text[] not null default '{}',
    dislikes text[] not null default '{}'
);
create index members_of_household on planner.members (household_id);
comment on column planner.members.allergies is 'keys of the 14 allergens of Regulation (EU) 1169/2011, Annex II';

create table planner.pantry_items (
    household_id uuid not null references planner.households on delete cascade,
    item text not null,
    expires_on date not null,
    use_first boolean not null default false,
    primary key (household_id, item)
);

create table planner.recipes (
    recipe_id text primary key,
    title text not null,
    cuisine text not null,
    main_protein text not null,
    minutes integer not null check (minutes > 0),
    cost text not null check (cost in ('low', 'mid', 'high')),
    items text[] not null,
    flags jsonb not null,
    licence text not null,
    author text not null
);
comment on column planner.recipes.flags is 'per diet or allergen: yes, no or unknown; unknown never counts as safe';

create table planner.constraints (
    household_id uuid not null references planner.households on delete cascade,
    day text not null check (day in ('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun')),
    max_minutes integer not null check (max_minutes > 0),
    hard boolean not null,
    eaters integer not null check (eaters > 0),
    primary key (household_id, day)
);
comment on table planner.constraints is 'one row per dinner to fill; a day without a row is closed';

create table planner.plans (
    plan_id uuid primary key,
    household_id uuid not null references planner.households on delete cascade,
    week_start date not null,
    entries jsonb not null,
    built_by text not null check (built_by in ('edited', 'unaided')),
    accepted_at timestamptz not null,
    unique (household_id, week_start)
);
comment on table planner.plans is 'what was accepted for a week; how it came about is in the event log';
