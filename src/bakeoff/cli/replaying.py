"""``bakeoff replay``"""

from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import LATEST, find_dataset, find_incumbent, task_of
from bakeoff.cli.session import answer, as_json, deps
from bakeoff.datasets.model import Dataset
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import ReplayReport

dataset_option = click.option(
    "--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest."
)
sample_option = click.option(
    "--sample", type=click.IntRange(min=1), help="Only so many rows, neutral ones first.  [default: all]"
)
seed_option = click.option("--seed", default=0, show_default=True, help="Another seed is another sample.")


@click.command()
@click.argument("name")
@dataset_option
@sample_option
@seed_option
@as_json
def replay(name: str, dataset_name: str, sample: int | None, seed: int, as_json: bool) -> None:
    """Run a policy version over a dataset's held-out requests and score every answer.

    Rows that are there already are not answered again, so a stopped replay goes on where it was.

    \b
    Example: bakeoff replay planner_policy/3 --dataset latest --sample 80
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
            dataset = find_dataset(conn, task_of(conn, version), dataset_name)
            incumbent = find_incumbent(conn, version.policy_id)
        report = lifecycle.replay(
            wired,
            plugins.load_task(dataset.task),
            version,
            dataset,
            sample=sample,
            seed=seed,
            neutral_to=compared(sample, version, incumbent),
        )
    answer(as_json, _replay_body(version, dataset, report), _replay_text(version, dataset, report))


def compared(sample: int | None, version: PolicyVersion, other: PolicyVersion | None) -> tuple[PolicyVersion, ...]:
    """Whose proposals make a row anchored, for the choice of a sample. Without a sample there is nothing to
    choose, and the same replay then serves every comparison."""
    if sample is None:
        return ()
    return tuple({v.policy_version_id: v for v in (version, other) if v is not None}.values())


def _replay_body(version: PolicyVersion, dataset: Dataset, report: ReplayReport) -> dict[str, Any]:
    return {
        "policy_version": version.name,
        "dataset": dataset.version,
        "dataset_digest": dataset.digest,
        "replay_id": report.replay_id,
        "digest": report.digest,
        "selection": dict(report.selection),
        "deterministic": report.certificate.deterministic,
        "certificate": {"rows": report.certificate.rows, "equal": report.certificate.equal},
        "aggregates": dict(report.aggregates),
    }


def _replay_text(version: PolicyVersion, dataset: Dataset, report: ReplayReport) -> str:
    again = f"{report.certificate.equal} of {report.certificate.rows} answers were the same the second time"
    shown = {
        name: value
        for name, value in sorted(report.aggregates.items())
        if name != "rows" and not (name.endswith("_coverage") and value == 1.0)
    }
    return "\n".join(
        [
            f"{version.name} over {report.aggregates['rows']:.0f} held-out rows of dataset {dataset.version}",
            *(f"  {name:<34} {value:.4g}" for name, value in shown.items()),
            f"{'deterministic' if report.certificate.deterministic else 'NOT deterministic'}: {again}",
        ]
    )
