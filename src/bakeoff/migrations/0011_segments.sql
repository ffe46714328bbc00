-- What kind of row each one is, beside its scores: a gate over many rows need not read every request again.

alter table offline_replay_results add column segments jsonb;
comment on column offline_replay_results.segments is
    'What kind of row this is (Task.segments): feature -> value. Null: not kept, or erased; a gate then asks the task.';

alter table replays add column segments_digest text check (segments_digest like 'sha256:%');
comment on column replays.segments_digest is
    'Of the segments of all rows, with the dataset and the code that they come from; null where a row has none. A gate '
    'uses them only where they still have this digest.';
