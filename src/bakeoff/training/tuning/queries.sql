-- name: insert_tuned(tuned_id, task, base, base_digest, recipe, prompt_version, request_version, dataset_digest, train_rows, rows_bucket, git_commit, lock_digest, params, score_name, score, lower, upper, units, is_distinct, trials, pruned, study, best_trial, mlflow_run_id, created_at)!
insert into tuned_hyperparameters (tuned_id, task, base, base_digest, recipe, prompt_version, request_version,
    dataset_digest, train_rows, rows_bucket, git_commit, lock_digest, params, score_name, score, lower, upper, units,
    is_distinct, trials, pruned, study, best_trial, mlflow_run_id, created_at)
values (:tuned_id, :task, :base, :base_digest, :recipe, :prompt_version, :request_version, :dataset_digest,
    :train_rows, :rows_bucket, :git_commit, :lock_digest, :params, :score_name, :score, :lower, :upper, :units,
    :is_distinct, :trials, :pruned, :study, :best_trial, :mlflow_run_id, :created_at)
on conflict do nothing;

-- name: newest(task, base_digest, recipe)^
select * from tuned_hyperparameters
where task = :task and base_digest = :base_digest and recipe = :recipe
order by created_at desc, tuned_id desc limit 1;

-- name: newest_of_each(task)
-- What is tuned for a task at all.
select distinct on (base_digest, recipe) * from tuned_hyperparameters
where task = :task
order by base_digest, recipe, created_at desc, tuned_id desc;
