-- Slices of the test split that a gate has read, and what a gate report was made on. Units are in a slice for good, so
-- a slice belongs to a task, whatever dataset shows it.

create table open_slices (
    task           text not null,
    opening        int not null check (opening > 0),
    slice          int not null check (slice between 1 and 4),
    since          timestamptz,
    opened_at      timestamptz not null,
    dataset_digest text not null references datasets,
    reason         text not null check (reason <> ''),
    primary key (task, opening, slice)
);
create unique index a_seal_breaks_once on open_slices (task, slice) where since is null;
comment on table open_slices is 'What gates have read of the test split. A slice that was opened is never closed again.';
comment on column open_slices.opening is 'Gates read the slices of the newest opening; each --fresh makes another one.';
comment on column open_slices.since is 'Only rows from this moment on: where every slice was read, newer weeks are fresh.';
create trigger open_slices_append_only before update or delete on open_slices
    for each row execute function refuse_change();
create trigger open_slices_no_truncate before truncate on open_slices
    for each statement execute function refuse_change();

alter table gate_reports add column task text, add column opening int, add column question text;
comment on column gate_reports.attempt is 'Reports on the same opening of the same task, with this one.';
comment on column gate_reports.question is
    'sha256 of everything that the stricter tests were run on: the same question again gets the report that is there.';
create unique index one_answer_to_a_question on gate_reports (question);
create index reports_of_an_opening on gate_reports (task, opening);

-- Reports so far were made on the whole test split.
alter table gate_reports disable trigger reports_append_only;
update gate_reports r set task = d.task, opening = 1 from datasets d where d.digest = r.dataset_digest;
alter table gate_reports enable trigger reports_append_only;
insert into open_slices (task, opening, slice, since, opened_at, dataset_digest, reason)
select r.task, 1, s.slice, null::timestamptz, min(r.created_at), (array_agg(r.dataset_digest order by r.created_at))[1],
    'gates read the whole test split before slices were sealed'
from gate_reports r cross join generate_series(1, 4) as s (slice)
group by r.task, s.slice;
