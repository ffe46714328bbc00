"""What a policy would have done."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import files as dataset_files
from bakeoff.datasets.fit import fitted
from bakeoff.datasets.model import Dataset, Row, Split
from bakeoff.fingerprint import digest
from bakeoff.inference.model import PolicyAnswer
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store as replays
from bakeoff.replay.answer import Kept, answer, prompt_digest, stamp
from bakeoff.replay.certificate import certify, sample_size
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow, Subject, rows_digest
from bakeoff.replay.recorded import recorded
from bakeoff.replay.repeats import check_repeats
from bakeoff.replay.score import aggregate, replay_row
from bakeoff.replay.scored_by import scored_by
from bakeoff.replay.segments import Segments, segments_digest, segments_of
from bakeoff.replay.select import select, selection, shard_of
from bakeoff.replay.workers import Ask, Pool
from bakeoff.task import Task

Move = Callable[[int, int], None]
_BATCH = 200  # rows from the cache in one transaction


@dataclass(frozen=True, kw_only=True, slots=True)
class _Play:
    """A replay that is going on."""

    task: Task  # asks and reads
    scorer: Task  # `task` with what its metrics learnt from the dataset
    version: PolicyVersion
    subject: Subject
    rows: Mapping[str, Row]  # by example id, in the order of the selection
    segments: Mapping[str, Segments | None]  # by example id
    use_cache: bool

    def asks(self) -> list[Ask]:
        """Every question, the first repeat of all examples before the second."""
        return [
            Ask(example_id=example_id, request=row.example.request, repeat=repeat)
            for repeat in range(self.subject.repeats)
            for example_id, row in self.rows.items()
        ]

    def prompt(self, ask: Ask) -> str:
        return prompt_digest(self.task, self.version.spec, ask.request)

    def row(self, ask: Ask, answered: PolicyAnswer, *, from_cache: bool = False) -> ReplayRow:
        row = self.rows[ask.example_id]
        return replace(
            replay_row(self.scorer, row.example, answered),
            repeat=ask.repeat,
            request_digest=row.request_digest,
            prompt_digest=self.prompt(ask) if self.version.spec.needs_engine else None,
            from_cache=from_cache,
            segments=self.segments[ask.example_id],
        )


def replay(
    deps: Deps,
    task: Task,
    version: PolicyVersion,
    dataset: Dataset,
    *,
    split: Split = Split.TEST,
    slices: Sequence[int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    neutral_to: Sequence[PolicyVersion] = (),
    workers: int | None = None,
    use_cache: bool = True,
    certificate_rows: int | None = None,
) -> ReplayReport:
    """Held-out requests through one policy -> one row per example and repeat in `offline_replay_results` -> aggregates.

    `slices`: numbers of the test split's sealed parts; None: all. With `sample`, rows that are neutral to the versions
    in `neutral_to` are taken first. `workers`: processes side by side; neither answers nor digest depend on it.
    `certificate_rows`: how many rows are answered a second time; None: 16, or 40 of a remote engine.

    A finished replay of the same is returned as it is. Rows that are there are not answered again, so a killed replay
    goes on where it stopped, and what a model answered to the same prompt in another replay comes from the cache.
    Without `use_cache` everything is answered anew, and kept instead of what was."""
    chosen = selection(split=split, slices=slices, sample=sample, seed=seed, neutral_to=_ids(neutral_to))
    play = _play(task, version, dataset, chosen, repeats, use_cache)
    known = _finished(deps, play) if use_cache else None
    if known is not None:
        return known
    play = _with_rows(play, dataset)
    with ExitStack() as stack:
        pool, ident = _answered(deps, play, play.asks(), workers, stack)
        with deps.db.transaction() as conn:
            rows = replays.rows(conn, ident)
        certificate = _certificate(deps, play, pool, rows, sample_size(version.spec, certificate_rows))
        witness = pool.witness
    return _finish(deps, play, ident, rows, certificate, witness)


def replay_shard(
    deps: Deps,
    task: Task,
    version: PolicyVersion,
    dataset: Dataset,
    *,
    shard: int,
    shards: int,
    split: Split = Split.TEST,
    sample: int | None = None,
    seed: int = 0,
    repeats: int = 1,
    neutral_to: Sequence[PolicyVersion] = (),
    workers: int | None = None,
) -> tuple[int, int]:
    """One machine's part of a replay: the examples whose hash falls into `shard`, 1 to `shards`. Gives how many rows
    that is, and how many the whole replay still lacks. `replay` then ends it, and answers what is missing."""
    chosen = selection(split=split, slices=None, sample=sample, seed=seed, neutral_to=_ids(neutral_to))
    play = _with_rows(_play(task, version, dataset, chosen, repeats, use_cache=True), dataset)
    asks = [ask for ask in play.asks() if shard_of(ask.example_id, shards) == shard]
    with ExitStack() as stack:
        _, ident = _answered(deps, play, asks, workers, stack)
    with deps.db.transaction() as conn:
        return len(asks), len(play.asks()) - len(replays.answered(conn, ident))


def _ids(versions: Sequence[PolicyVersion]) -> list[str]:
    return [version.policy_version_id for version in versions]


def _play(
    task: Task, version: PolicyVersion, dataset: Dataset, chosen: Mapping[str, Any], repeats: int, use_cache: bool
) -> _Play:
    check_repeats(version.spec, repeats)
    scorer = fitted(task, dataset.uri)
    subject = Subject(
        policy_version_id=version.policy_version_id,
        fingerprint=version.fingerprint,
        dataset_digest=dataset.digest,
        selection=chosen,
        repeats=repeats,
        scored_by=scored_by(scorer),
    )
    return _Play(task=task, scorer=scorer, version=version, subject=subject, rows={}, segments={}, use_cache=use_cache)


def _finished(deps: Deps, play: _Play) -> ReplayReport | None:
    """What is known of a model that is not loaded is only its spec: its finished replay counts, whatever the libraries
    of this machine. The stamp of a function is known without running it."""
    spec = play.version.spec
    with deps.db.transaction() as conn:
        return replays.find_finished(conn, play.subject, None if spec.needs_engine else stamp(spec, None))


def _with_rows(play: _Play, dataset: Dataset) -> _Play:
    chosen = play.subject.selection
    rows = dataset_files.load(dataset.uri, splits=(Split(chosen["split"]),))
    ids = chosen["neutral_to"]
    neutral = {row.example.example_id for row in rows if ids and dataset_build.is_neutral(row, *ids)}
    taken = {row.example.example_id: row for row in select(rows, chosen, first=neutral)}
    kinds = {name: segments_of(play.scorer, row.example) for name, row in taken.items()}  # before anybody answers
    return replace(play, rows=taken, segments=kinds)


def _answered(deps: Deps, play: _Play, asks: Sequence[Ask], workers: int | None, stack: ExitStack) -> tuple[Pool, str]:
    """Opens those who answer (`stack` ends them) and the replay, and sees that it has a row for each of `asks`."""
    with deps.progress.stage(f"replay {play.version.name}") as move:
        move(0, len(asks))
        opened = deps.workers.open(play.task, play.version.spec, workers=workers, rows=len(asks))
        pool = stack.enter_context(opened)
        with deps.db.transaction() as conn:
            ident = replays.open_replay(
                conn, **asdict(play.subject), engine=pool.stamp, fresh=not play.use_cache, now=deps.clock()
            )
        _answer_missing(deps, play, pool, ident, asks, move)
    return pool, ident


def _answer_missing(deps: Deps, play: _Play, pool: Pool, ident: str, asks: Sequence[Ask], move: Move) -> None:
    """Answers what is not answered yet; each row is durable before whoever answered it is asked again."""
    spec, engine_digest = play.version.spec, digest(pool.stamp)
    with deps.db.transaction() as conn:
        there = replays.answered(conn, ident)
    left = [_with_record(deps, play, ask) for ask in asks if ask.key not in there]
    if spec.needs_engine and play.use_cache:
        left = _take_kept(deps, play, ident, engine_digest, left)
    for done, (ask, answered) in enumerate(pool.answers(left), 1):
        row = play.row(ask, answered)
        with deps.db.transaction() as conn:
            replays.insert_row(conn, ident, row)
            if spec.needs_engine:
                replays.keep_answer(
                    conn,
                    fingerprint=play.version.fingerprint,
                    engine_digest=engine_digest,
                    row=row,
                    completion=answered.completion,
                    now=deps.clock(),
                    instead=not play.use_cache,
                )
        move(done, len(left))


def _with_record(deps: Deps, play: _Play, ask: Ask) -> Ask:
    version = play.version
    return replace(
        ask,
        recorded=recorded(deps.db.transaction, version.spec, version.policy_version_id, ask.example_id),
    )


def _take_kept(deps: Deps, play: _Play, ident: str, engine_digest: str, asks: Sequence[Ask]) -> list[Ask]:
    """Writes the rows whose answers are kept from another replay, scored anew; gives the asks that are left."""
    spec, left = play.version.spec, []
    for start in range(0, len(asks), _BATCH):
        batch = {ask.key: (ask, play.prompt(ask)) for ask in asks[start : start + _BATCH]}
        with deps.db.transaction() as conn:
            kept = replays.kept_answers(
                conn,
                fingerprint=play.version.fingerprint,
                engine_digest=engine_digest,
                prompt_digests=[prompt for _, prompt in batch.values()],
            )
            for ask, prompt in batch.values():
                completion = kept.get((prompt, ask.repeat))
                if completion is None:
                    left.append(ask)
                else:
                    again = answer(play.task, spec, ask, Kept(completion=completion))
                    replays.insert_row(conn, ident, play.row(ask, again, from_cache=True))
    return left


def _certificate(deps: Deps, play: _Play, pool: Pool, rows: Sequence[ReplayRow], sample: int) -> Certificate:
    """The last rows are answered again, last first; never from the cache. Where repeats of a remote engine were paid
    for already, the first two are compared, of all rows."""
    spec, metrics = play.version.spec, play.scorer.metrics
    if play.subject.repeats > 1 and spec.is_remote:
        by_repeat = [[row for row in rows if row.repeat == repeat] for repeat in (0, 1)]
        return certify(spec, by_repeat[0], by_repeat[1], metrics)
    first = {row.key: row for row in rows}
    asks = [_with_record(deps, play, ask) for ask in play.asks()[::-1][:sample]]
    second = []
    with deps.progress.stage("certificate") as move:
        for ask, answered in pool.answers(asks, again=True):
            second.append(play.row(ask, answered))
            move(len(second), len(asks))
    return certify(spec, [first[row.key] for row in second], second, metrics)


def _finish(
    deps: Deps,
    play: _Play,
    ident: str,
    rows: Sequence[ReplayRow],
    certificate: Certificate,
    witness: Mapping[str, Any],
) -> ReplayReport:
    """The tracker hears of it first: a replay that is finished here is not looked at again."""
    aggregates, subject = aggregate(rows), play.subject
    run_id, split = play.version.mlflow_run_id, subject.selection["split"]
    if run_id:
        prefix = "replay_" if split == Split.TEST else f"replay_{split}_"
        deps.tracker.log_metrics(run_id, {f"{prefix}{name}": value for name, value in aggregates.items()}, 0)
        deps.tracker.set_tag(run_id, f"{prefix}id", ident)
    with deps.db.transaction() as conn:
        replays.finish(
            conn,
            ident,
            certificate=certificate,
            witness=witness,
            aggregates=aggregates,
            digest=rows_digest(rows),
            segments_digest=segments_digest(
                subject.dataset_digest, subject.scored_by, {row.example_id: row.segments for row in rows}
            ),
            now=deps.clock(),
        )
        report = replays.find_report(conn, ident)
    assert report is not None  # it was finished in this transaction
    return report
