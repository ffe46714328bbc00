-- name: insert_dataset(digest, task, uri, since, until, rows, summary, mlflow_run_id, created_at)!
-- The same content again is nothing.
insert into datasets (digest, task, uri, window_since, window_until, rows, summary, mlflow_run_id, created_at)
values (:digest, :task, :uri, :since, :until, :rows, :summary, :mlflow_run_id, :created_at)
on conflict (digest) do nothing;

-- name: by_digest(digest)^
select * from datasets where digest = :digest;

-- name: by_uri(uri)^
select * from datasets where uri = :uri;

-- name: latest(task)^
-- By the end of the window, then by when it was made.
select * from datasets where task = :task order by window_until desc, created_at desc, digest limit 1;

-- name: all_datasets(task)
select * from datasets where cast(:task as text) is null or task = :task order by window_until, created_at, digest;

-- name: lock(task)
-- One build of a task at a time, until the transaction ends: a later one then sees what the earlier one made.
select pg_advisory_xact_lock(hashtextextended('bakeoff dataset ' || :task, 0));
