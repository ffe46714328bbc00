-- What tuning found, for later training runs. Studies themselves (every trial) are Optuna's, in a schema of its own.

create table tuned_hyperparameters (
    tuned_id        uuid primary key,
    task            text not null,
    base            text not null,
    base_digest     text not null check (base_digest like 'sha256:%'),
    recipe          text not null,
    prompt_version  text not null,
    request_version text not null,
    dataset_digest  text not null references datasets (digest),
    train_rows      int not null check (train_rows > 0),
    rows_bucket     int not null check (rows_bucket >= 0),
    git_commit      text not null,
    lock_digest     text not null,
    params          jsonb not null,
    score_name      text not null,
    score           double precision not null,
    lower           double precision not null,
    upper           double precision not null,
    units           int not null check (units > 0),
    is_distinct     boolean not null,
    trials          int not null check (trials > 0),
    pruned          int not null check (pruned between 0 and trials),
    study           text not null,
    best_trial      int not null,
    mlflow_run_id   text not null,
    created_at      timestamptz not null,
    check (lower <= score and score <= upper)
);
create index tuned_newest on tuned_hyperparameters (task, base_digest, recipe, created_at desc);
comment on table tuned_hyperparameters is 'The best hyperparameters of each study; the newest of a task, base and recipe counts (train --tuned).';
comment on column tuned_hyperparameters.params is 'Fields of a training spec.';
comment on column tuned_hyperparameters.rows_bucket is 'Power of two below the rows that a trial trained on.';
comment on column tuned_hyperparameters.score is 'Mean over validation rows; the best of several trials, so a little too good.';
comment on column tuned_hyperparameters.is_distinct is 'Whether the best trial is told apart from every other complete one.';

create trigger tuned_append_only before update or delete on tuned_hyperparameters
    for each row execute function refuse_change();
create trigger tuned_no_truncate before truncate on tuned_hyperparameters
    for each statement execute function refuse_change();
