-- name: exist()$
select to_regclass('planner.asks') is not null;

-- name: have_households()$
select exists (select from planner.households);

-- name: set_clock(at)$
-- System time of the changes that follow in this transaction; an empty text gives it back to PostgreSQL's clock.
select set_config('planner.clock', :at, true);

-- ---- what the application knows ----------------------------------------------------------------------------------

-- name: save_recipe(recipe_id, title, short, cuisine, main_protein, minutes, cost, items, flags, licence, author)*!
insert into planner.recipes as r (recipe_id, title, short, cuisine, main_protein, minutes, cost, items, flags, licence,
                                  author)
values (:recipe_id, :title, :short, :cuisine, :main_protein, :minutes, :cost, :items, :flags, :licence, :author)
on conflict (recipe_id) do update set
    title = excluded.title, short = excluded.short, cuisine = excluded.cuisine, main_protein = excluded.main_protein,
    minutes = excluded.minutes, cost = excluded.cost, items = excluded.items, flags = excluded.flags,
    licence = excluded.licence, author = excluded.author;

-- name: save_ratings(recipe_ids, stars)!
insert into planner.ratings (recipe_id, stars)
select * from unnest(:recipe_ids::text[], :stars::double precision[])
on conflict (recipe_id) do update set stars = excluded.stars;

-- name: save_household(household_id, region, liked_cuisines, liked_proteins, budget, created_at)!
insert into planner.households (household_id, region, liked_cuisines, liked_proteins, budget, created_at)
values (:household_id, :region, :liked_cuisines, :liked_proteins, :budget, :created_at)
on conflict (household_id) do update set
    region = excluded.region, liked_cuisines = excluded.liked_cuisines, liked_proteins = excluded.liked_proteins,
    budget = excluded.budget;

-- name: drop_members(household_id, member_ids)!
delete from planner.members where household_id = :household_id and member_id <> all(:member_ids::uuid[]);

-- name: save_member(member_id, household_id, allergies, diets, dislikes)*!
insert into planner.members (member_id, household_id, allergies, diets, dislikes)
values (:member_id, :household_id, :allergies, :diets, :dislikes)
on conflict (member_id) do update set
    allergies = excluded.allergies, diets = excluded.diets, dislikes = excluded.dislikes;

-- name: save_pantry(household_id, items, expires_on, use_first)!
with gone as (
    delete from planner.pantry_items where household_id = :household_id and item <> all(:items::text[])
)
insert into planner.pantry_items (household_id, item, expires_on, use_first)
select :household_id, t.* from unnest(:items::text[], :expires_on::date[], :use_first::boolean[]) t
on conflict (household_id, item) do update set expires_on = excluded.expires_on, use_first = excluded.use_first;

-- name: save_constraints(household_id, days, max_minutes, hard, eaters)!
with gone as (
    delete from planner.constraints where household_id = :household_id and day <> all(:days::text[])
)
insert into planner.constraints (household_id, day, max_minutes, hard, eaters)
select :household_id, t.* from unnest(:days::text[], :max_minutes::int[], :hard::boolean[], :eaters::int[]) t
on conflict (household_id, day) do update set
    max_minutes = excluded.max_minutes, hard = excluded.hard, eaters = excluded.eaters;

-- name: save_plan(plan_id, household_id, week_start, entries, built_by, accepted_at, removed)!
insert into planner.plans (plan_id, household_id, week_start, entries, built_by, accepted_at, removed)
values (:plan_id, :household_id, :week_start, :entries, :built_by, :accepted_at, :removed)
on conflict (household_id, week_start) do update set
    entries = excluded.entries, built_by = excluded.built_by, accepted_at = excluded.accepted_at,
    removed = excluded.removed;

-- name: save_ask(household_id, week_start, asked_at, workflow_type, mode, anchors, options)!
insert into planner.asks (household_id, week_start, asked_at, workflow_type, mode, anchors, options)
values (:household_id, :week_start, :asked_at, :workflow_type, :mode, :anchors, :options)
on conflict do nothing;

-- name: forget_household(household_id)!
-- Deleting a household deletes what hangs on it, and writes that into the histories, which have to go last.
delete from planner.households where household_id = :household_id;

-- name: forget_histories(household_id)!
with h as (delete from planner.households_history where household_id = :household_id),
     m as (delete from planner.members_history where household_id = :household_id),
     i as (delete from planner.pantry_items_history where household_id = :household_id),
     c as (delete from planner.constraints_history where household_id = :household_id)
delete from planner.plans_history where household_id = :household_id;

-- ---- what it knew then: one row or more for each key n ------------------------------------------------------------

-- name: asked(units, weeks, moments)
-- The last ask before the moment, with the household as it was stated then.
select k.n, a.workflow_type, a.mode, a.anchors, a.options, h.region, h.liked_cuisines, h.liked_proteins, h.budget
from unnest(:units::uuid[], :weeks::date[], :moments::timestamptz[]) with ordinality k (unit, week, moment, n)
cross join lateral (
    select * from planner.asks a
    where a.household_id = k.unit and a.week_start = k.week and a.asked_at <= k.moment
    order by a.asked_at desc limit 1
) a
join planner.households_history h
    on h.household_id = k.unit and h.known_from <= k.moment and k.moment < h.known_until;

-- name: members(units, moments)
select k.n, m.allergies, m.diets, m.dislikes
from unnest(:units::uuid[], :moments::timestamptz[]) with ordinality k (unit, moment, n)
join planner.members_history m on m.household_id = k.unit and m.known_from <= k.moment and k.moment < m.known_until;

-- name: pantries(units, weeks, moments)
select k.n, i.item, i.expires_on - k.week as days_left, i.use_first
from unnest(:units::uuid[], :weeks::date[], :moments::timestamptz[]) with ordinality k (unit, week, moment, n)
join planner.pantry_items_history i
    on i.household_id = k.unit and i.known_from <= k.moment and k.moment < i.known_until and i.expires_on >= k.week;

-- name: constraints(units, moments)
select k.n, c.day, c.max_minutes, c.hard, c.eaters
from unnest(:units::uuid[], :moments::timestamptz[]) with ordinality k (unit, moment, n)
join planner.constraints_history c on c.household_id = k.unit and c.known_from <= k.moment and k.moment < c.known_until;

-- name: plans(units, weeks, moments)
-- What came of all earlier weeks, oldest first.
select k.n, array(select e ->> 'recipe_id' from jsonb_array_elements(p.entries) e) as accepted, p.removed
from unnest(:units::uuid[], :weeks::date[], :moments::timestamptz[]) with ordinality k (unit, week, moment, n)
join planner.plans_history p
    on p.household_id = k.unit and p.week_start < k.week and p.known_from <= k.moment and k.moment < p.known_until
order by k.n, p.week_start;

-- name: recipes(recipe_ids, first, last)
-- Every version that was known at some moment of [first, last].
select recipe_id, title, short, cuisine, main_protein, minutes, cost, items, flags, licence, author, known_from,
       nullif(known_until, 'infinity') as known_until
from planner.recipes_history
where recipe_id = any(:recipe_ids::text[]) and known_from <= :last and known_until > :first;

-- name: ratings(recipe_ids, first, last)
select recipe_id, stars, known_from, nullif(known_until, 'infinity') as known_until
from planner.ratings_history
where recipe_id = any(:recipe_ids::text[]) and known_from <= :last and known_until > :first;
