-- name: same_answers(candidate, incumbent, example_ids)$
-- To how many examples both replays gave the same first answer; of these examples, where some are named.
select count(*) from offline_replay_results c join offline_replay_results i using (example_id, repeat)
where c.replay_id = :candidate and i.replay_id = :incumbent and repeat = 0
    and c.parsed_answer is not distinct from i.parsed_answer
    and (cast(:example_ids as text[]) is null or example_id = any(cast(:example_ids as text[])));

-- name: segments(replay_id)
select segments, array_agg(example_id) as example_ids from offline_replay_results
where replay_id = :replay_id and repeat = 0 group by segments;
