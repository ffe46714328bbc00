"""What a policy would have done."""

from collections.abc import Callable, Sequence

from bakeoff.datasets import build as dataset_build
from bakeoff.datasets import files as dataset_files
from bakeoff.datasets.fit import fitted
from bakeoff.datasets.model import Dataset, Split
from bakeoff.inference.model import PolicyAnswer
from bakeoff.inference.run_policy import run_policy
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import logged
from bakeoff.replay import run as replay_run
from bakeoff.replay import store as replays
from bakeoff.replay.model import Certificate, ReplayReport, ReplayRow, rows_digest
from bakeoff.task import Example, Task


def replay(
    deps: Deps,
    task: Task,
    version: PolicyVersion,
    dataset: Dataset,
    *,
    slices: Sequence[int] | None = None,
    sample: int | None = None,
    seed: int = 0,
    neutral_to: Sequence[PolicyVersion] = (),
    certificate_rows: int = 8,
) -> ReplayReport:
    """Held-out requests through one policy -> one row each in `offline_replay_results` -> aggregates.

    `slices`: sealed parts of the test split; None: all. With `sample`, rows that are neutral to the versions in
    `neutral_to` are taken first. Rows already there are not answered again, so a killed replay goes on where it
    stopped."""
    ids = [other.policy_version_id for other in neutral_to]
    wanted = None if slices is None else sorted(set(slices))
    selection = {"split": "test", "slices": wanted, "sample": sample, "seed": seed, "neutral_to": sorted(ids)}
    ident = replays.replay_id(version.fingerprint, version.policy_version_id, dataset.digest, selection)
    with deps.db.transaction() as conn:
        known = replays.find_report(conn, ident)
    if known is not None:
        return known
    rows = [r for r in dataset_files.load(dataset.uri, splits=(Split.TEST,)) if wanted is None or r.slice in wanted]
    neutral = {row.example.example_id for row in rows if ids and dataset_build.is_neutral(row, *ids)}
    chosen = replay_run.select([row.example for row in rows], sample=sample, seed=seed, first=neutral)
    engine = deps.engines.open(version.spec) if version.spec.needs_engine else None
    with deps.db.transaction() as conn:
        replays.open_replay(
            conn,
            policy_version_id=version.policy_version_id,
            fingerprint=version.fingerprint,
            dataset_digest=dataset.digest,
            selection=selection,
            engine=engine.describe() if engine else {},
            now=deps.clock(),
        )

    def answer(example: Example) -> PolicyAnswer:
        past = logged.recorded(deps.db.transaction, version.spec, version.policy_version_id, example.example_id)
        return run_policy(task, version.spec, example.request, engine=engine, recorded=past)

    answered = _answer_all(deps, fitted(task, dataset.uri), ident, version.name, chosen, answer)
    certificate = replay_run.certify(answered, chosen, answer, sample=certificate_rows)
    return _finish_replay(deps, version, ident, answered, certificate)


def _answer_all(
    deps: Deps,
    task: Task,
    ident: str,
    name: str,
    chosen: Sequence[Example],
    answer: Callable[[Example], PolicyAnswer],
) -> list[ReplayRow]:
    """Answers what is not answered yet; each row is durable before the next one begins."""
    with deps.db.transaction() as conn:
        done = {row.example_id for row in replays.rows(conn, ident)}
    with deps.progress.stage(f"replay {name}") as move:
        for n, example in enumerate(chosen):
            if example.example_id not in done:
                row = replay_run.replay_row(task, example, answer(example))
                with deps.db.transaction() as conn:
                    replays.insert_row(conn, ident, row)
            move(n + 1, len(chosen))
    with deps.db.transaction() as conn:
        return replays.rows(conn, ident)


def _finish_replay(
    deps: Deps, version: PolicyVersion, ident: str, answered: Sequence[ReplayRow], certificate: Certificate
) -> ReplayReport:
    aggregates = replay_run.aggregate(answered)
    with deps.db.transaction() as conn:
        replays.finish(
            conn,
            ident,
            certificate=certificate,
            aggregates=aggregates,
            digest=rows_digest(answered),
            now=deps.clock(),
        )
        report = replays.find_report(conn, ident)
    if version.mlflow_run_id:
        deps.tracker.log_metrics(version.mlflow_run_id, {f"replay_{k}": v for k, v in aggregates.items()}, 0)
    assert report is not None  # it was finished in this transaction
    return report
