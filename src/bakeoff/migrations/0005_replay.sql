-- Replay at full depth: repeats, what gave the scores, answers that are kept for the next replay.

alter table replays
    add column repeats int not null default 1 check (repeats > 0),
    add column scored_by jsonb not null default '{}',
    add column attempt int not null default 1 check (attempt > 0);
comment on column replays.selection is 'Which rows: split, slices of the test split, sample, seed, whose proposals make a row anchored.';
comment on column replays.engine is 'What answered: library versions, number format, threads, digest of the decoding code. Rows of two engines are never mixed.';
comment on column replays.repeats is 'Answers per example.';
comment on column replays.scored_by is 'Digests of code and learnt parameters that gave the scores; replays with different ones are not comparable.';
comment on column replays.attempt is 'Above 1 for a replay of the same that was answered wholly anew (--no-cache).';
create index replays_of_version on replays (policy_version_id, dataset_digest);

alter table offline_replay_results
    add column request_digest text,
    add column prompt_digest text,
    add column from_cache boolean not null default false;
comment on column offline_replay_results.raw_answer is 'As the policy gave it; parsed_answer is what the task read in it, answer what would be served after repair.';
comment on column offline_replay_results.violations is 'Hard constraints that the parsed answer breaches, before any repair.';
comment on column offline_replay_results.metrics is 'Scores of the parsed answer, before any repair; null is not applicable.';
comment on column offline_replay_results.repeat is '0 for the first answer to an example.';
comment on column offline_replay_results.latency_s is 'Wall clock of one answer; of one from the cache what it took then.';
comment on column offline_replay_results.request_digest is 'Of the request as the log knows it (requests.digest).';
comment on column offline_replay_results.prompt_digest is 'Of the rendered messages and the answer schema; null for policies that read no prompt.';

create table replay_answers (
    fingerprint   text not null check (fingerprint like 'sha256:%'),
    engine_digest text not null check (engine_digest like 'sha256:%'),
    prompt_digest text not null check (prompt_digest like 'sha256:%'),
    repeat        int not null check (repeat >= 0),
    completion    json not null,
    answered_at   timestamptz not null,
    primary key (fingerprint, engine_digest, prompt_digest, repeat)
);
comment on table replay_answers is 'What models answered, for the next replay that asks the same: a cache, so rows may be deleted, never changed.';
comment on column replay_answers.completion is 'json, not jsonb: jsonb rewrites numbers, and log-probabilities must come back as they were.';
create trigger replay_answers_keep before update on replay_answers for each row execute function refuse_change();
