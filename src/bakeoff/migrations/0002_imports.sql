-- History that is brought in from files and from an application's own database.

create table imports (
    import_id     uuid primary key,
    task          text not null,
    source        text not null,
    source_digest text not null check (source_digest like 'sha256:%'),
    settings      jsonb not null,
    position      bigint not null default 0 check (position >= 0),
    rejects_bytes bigint not null default 0 check (rejects_bytes >= 0),
    counts        jsonb not null default '{}',
    started_at    timestamptz not null,
    finished_at   timestamptz
);
comment on table imports is 'How far each file was imported: written in the transaction of each batch, so that a killed import goes on.';
comment on column imports.position is 'Lines (rows) of the source that are dealt with: in the log, or in the file of rejects.';
comment on column imports.rejects_bytes is 'Length of the file of rejects at that position; what a killed process wrote beyond it is cut off.';

-- ---- the health of the log (bakeoff doctor) ------------------------------------------------------------------------

create view decisions_without_exposure as
select e.event_id, e.task, e.unit_id, e.experiment_id, e.occurred_at
from events e
join experiments x on x.experiment_id = e.experiment_id and x.kind = 'test'
left join exposures s on s.experiment_id = e.experiment_id and s.unit_id = e.unit_id
where e.role = 'decision' and e.origin = 'live' and s.unit_id is null;
comment on view decisions_without_exposure is 'Live decisions of a test whose unit never met it: there must be none.';
