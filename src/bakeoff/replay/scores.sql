-- name: behaviour(candidate, incumbent, example_ids)^
-- Two replays side by side, over the first answers to these examples.
select count(*) as rows,
    avg(cast(c.parsed_answer is not distinct from i.parsed_answer as int)) as same_answers,
    avg(c.completion_tokens) as candidate_tokens, avg(i.completion_tokens) as incumbent_tokens,
    avg(cast(c.parsed_answer is null as int)) as candidate_unreadable,
    avg(cast(i.parsed_answer is null as int)) as incumbent_unreadable,
    avg(cast(c.answer is null as int)) as candidate_unserved, avg(cast(i.answer is null as int)) as incumbent_unserved,
    avg(cast(c.violations <> '[]' as int)) as candidate_violating,
    avg(cast(i.violations <> '[]' as int)) as incumbent_violating,
    percentile_cont(array[0.5, 0.95]) within group (order by c.latency_s) as candidate_latency_s,
    percentile_cont(array[0.5, 0.95]) within group (order by i.latency_s) as incumbent_latency_s
from offline_replay_results c join offline_replay_results i using (example_id, repeat)
where c.replay_id = :candidate and i.replay_id = :incumbent and repeat = 0
    and example_id = any(cast(:example_ids as text[]));
