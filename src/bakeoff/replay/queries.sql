-- name: insert_replay(replay_id, policy_version_id, fingerprint, dataset_digest, selection, engine, started_at)!
insert into replays (replay_id, policy_version_id, fingerprint, dataset_digest, selection, engine, status, started_at)
values (:replay_id, :policy_version_id, :fingerprint, :dataset_digest, :selection, :engine, 'running', :started_at)
on conflict (replay_id) do nothing;

-- name: replay(replay_id)^
select * from replays where replay_id = :replay_id;

-- name: insert_row(replay_id, example_id, unit_id, raw_answer, parsed_answer, answer, violations, metrics, prompt_tokens, completion_tokens, latency_s, cost, answer_digest)!
insert into offline_replay_results (replay_id, example_id, unit_id, raw_answer, parsed_answer, answer, violations,
    metrics, prompt_tokens, completion_tokens, latency_s, cost, answer_digest)
values (:replay_id, :example_id, :unit_id, :raw_answer, :parsed_answer, :answer, :violations,
    :metrics, :prompt_tokens, :completion_tokens, :latency_s, :cost, :answer_digest)
on conflict do nothing;

-- name: rows(replay_id)
select * from offline_replay_results where replay_id = :replay_id order by example_id collate "C";

-- name: finish_replay(certificate, aggregates, digest, finished_at, replay_id)!
update replays set status = 'done', certificate = :certificate, aggregates = :aggregates, digest = :digest,
    finished_at = :finished_at
where replay_id = :replay_id and status = 'running';

-- name: latest_replay(policy_version_id)^
select * from replays where policy_version_id = :policy_version_id and status = 'done'
order by finished_at desc limit 1;

-- name: replay_by_digest(policy_version_id, digest)^
select * from replays where policy_version_id = :policy_version_id and digest = :digest order by finished_at limit 1;
