-- name: insert_replay(replay_id, policy_version_id, fingerprint, dataset_digest, selection, engine, repeats, scored_by, attempt, started_at)!
insert into replays (replay_id, policy_version_id, fingerprint, dataset_digest, selection, engine, repeats, scored_by,
    attempt, status, started_at)
values (:replay_id, :policy_version_id, :fingerprint, :dataset_digest, :selection, :engine, :repeats, :scored_by,
    :attempt, 'running', :started_at)
on conflict (replay_id) do nothing;

-- name: replay(replay_id)^
select r.*, (select count(*) from offline_replay_results o where o.replay_id = r.replay_id and o.from_cache) as cached
from replays r where r.replay_id = :replay_id;

-- name: finished(policy_version_id, fingerprint, dataset_digest, selection, repeats, scored_by, engine)
-- The newest first. Without an engine: of any. A finished one may say more of its engine than its stamp.
select replay_id from replays
where status = 'done' and policy_version_id = :policy_version_id and dataset_digest = :dataset_digest
    and fingerprint = :fingerprint and selection = :selection and repeats = :repeats and scored_by = :scored_by
    and (cast(:engine as jsonb) is null or engine @> cast(:engine as jsonb))
order by finished_at desc, attempt desc;

-- name: insert_row(replay_id, example_id, repeat, unit_id, raw_answer, parsed_answer, answer, violations, metrics, prompt_tokens, completion_tokens, latency_s, cost, answer_digest, request_digest, prompt_digest, from_cache, segments)!
insert into offline_replay_results (replay_id, example_id, repeat, unit_id, raw_answer, parsed_answer, answer,
    violations, metrics, prompt_tokens, completion_tokens, latency_s, cost, answer_digest, request_digest,
    prompt_digest, from_cache, segments)
values (:replay_id, :example_id, :repeat, :unit_id, :raw_answer, :parsed_answer, :answer,
    :violations, :metrics, :prompt_tokens, :completion_tokens, :latency_s, :cost, :answer_digest, :request_digest,
    :prompt_digest, :from_cache, :segments)
on conflict do nothing;

-- name: rows(replay_id)
select * from offline_replay_results where replay_id = :replay_id order by example_id collate "C", repeat;

-- name: answered(replay_id)
select example_id, repeat from offline_replay_results where replay_id = :replay_id;

-- name: finish_replay(certificate, witness, aggregates, digest, segments_digest, finished_at, replay_id)!
update replays set status = 'done', certificate = :certificate, engine = engine || :witness, aggregates = :aggregates,
    digest = :digest, segments_digest = :segments_digest, finished_at = :finished_at
where replay_id = :replay_id and status = 'running';

-- name: latest_replay(policy_version_id)^
select replay_id from replays where policy_version_id = :policy_version_id and status = 'done'
order by finished_at desc limit 1;

-- name: forget_answer(fingerprint, engine_digest, prompt_digest, repeat)!
delete from replay_answers where fingerprint = :fingerprint and engine_digest = :engine_digest
    and prompt_digest = :prompt_digest and repeat = :repeat;

-- name: keep_answer(fingerprint, engine_digest, prompt_digest, repeat, completion, answered_at)!
insert into replay_answers (fingerprint, engine_digest, prompt_digest, repeat, completion, answered_at)
values (:fingerprint, :engine_digest, :prompt_digest, :repeat, :completion, :answered_at)
on conflict do nothing;

-- name: kept_answers(fingerprint, engine_digest, prompt_digests)
select prompt_digest, repeat, completion from replay_answers
where fingerprint = :fingerprint and engine_digest = :engine_digest and prompt_digest = any(:prompt_digests);

-- name: replay_by_digest(policy_version_id, digest)^
select replay_id from replays where policy_version_id = :policy_version_id and digest = :digest
order by finished_at limit 1;

-- name: replays_of_unit(unit_id)
-- Every replay that answered requests of a unit, oldest first.
select r.replay_id, r.policy_version_id, r.dataset_digest, r.digest, r.started_at, count(*) as rows
from offline_replay_results o join replays r using (replay_id)
where o.unit_id = :unit_id group by r.replay_id order by r.started_at, r.replay_id;

-- name: any_replay(ident)^
select * from replays where replay_id::text = :ident or digest = :ident order by started_at limit 1;
