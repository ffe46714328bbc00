"""``bakeoff contract``, ``register`` and ``propose``: from any trainer's run to a policy version."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bakeoff import lifecycle
from bakeoff.cli import lineage
from bakeoff.cli.lookup import find_dataset, find_incumbent
from bakeoff.cli.runs import by_id, choose, comparison, comparison_text, full_id
from bakeoff.cli.session import answer, as_json, deps, policy_id, say, task_option
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.plugins import load_task
from bakeoff.policies.model import PolicyVersion
from bakeoff.registry.from_run import from_run
from bakeoff.task import Task
from bakeoff.training import contract as contracts
from bakeoff.training.run import Trained

_KINDS = {
    "param": "parameters",
    "tag": "tags",
    "curve": "metrics, as curves",
    "score": "metrics, once",
    "dataset": "inputs",
    "artifact": "artefacts",
}
_policy_option = click.option("--policy", help="The policy that gets a new version.  [default: <task>_policy]")


@click.group()
def contract() -> None:
    """What a training run must have logged, whoever trained it.

    \b
    Example: bakeoff contract show
    """


@contract.command()
@task_option
@as_json
def show(task_name: str, as_json: bool) -> None:
    """Print the logging contract: what, when it must be known, why, and plain MLflow calls that log it.

    \b
    Example: bakeoff contract show --task planner
    """
    items = [
        {
            "kind": item.kind,
            "name": item.name,
            "known": item.known,
            "required": "worked out at registration where it is not logged" if item.derived else "always",
            "why": item.why,
            "how": item.how,
        }
        for item in contracts.CONTRACT
    ]
    metrics = [metric.name for metric in load_task(task_name).metrics]
    script = contracts.script(task_name, metrics[0] if metrics else "score")
    return answer(as_json, {"task": task_name, "items": items, "script": script}, _contract_text(items, script))


def _contract_text(items: list[dict[str, str]], script: str) -> str:
    parts = []
    for kind, title in _KINDS.items():
        lines = [_item_line(item) for item in items if item["kind"] == kind]
        parts.append(f"{title}\n" + "\n".join(lines))
    rules = (
        "Nothing that was requested may differ from what was logged; the run must be FINISHED; no artefact may be a\n"
        "pickle. Checked before the first step (parameters and tags known at the start) and at registration, on what\n"
        "MLflow gives back."
    )
    return "\n\n".join([*parts, rules, "A notebook logs it so:\n", script])


def _item_line(item: Mapping[str, str]) -> str:
    marks = [f"known at the {item['known']}"] if item["kind"] == "param" else []
    marks += ["worked out where it is missing"] if item["required"] != "always" else []
    return f"  {item['name']:<46} {item['why']}" + (f"  ({', '.join(marks)})" if marks else "")


@click.command()
@task_option
@click.option("--run-id", required=True, help="MLflow's id of the run; its beginning is enough.")
@_policy_option
@click.option(
    "--requested",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON object with what the run was asked for; each value must equal what it logged.",
)
@as_json
def register(task_name: str, run_id: str, policy: str | None, requested: Path | None, as_json: bool) -> None:
    """Register the model of a finished run, by whatever trainer, as the next version of a policy.

    The run is read back and held against the logging contract (`bakeoff contract show`), the adapter against what
    servers accept; then it is loaded and answers one request. Refused with the whole list of what is missing,
    wrong or not as requested. The same run again is the version that is there.

    \b
    Example: bakeoff register --run-id 3f2a9c0d41b74e8f
             bakeoff register --run-id 3f2a9c0d41b74e8f --requested run.json
    """
    with deps() as wired:
        task = load_task(task_name)
        result = register_run(wired, task, run_id, policy or policy_id(task_name), read_requested(requested))
    return answer(as_json, result, _registered_text(result))


@click.command()
@task_option
@click.argument("run_id", metavar="RUN")
@_policy_option
@click.option("--metric", help="Compare by one metric of the task.  [default: offline_eval_score]")
@as_json
def propose(task_name: str, run_id: str, policy: str | None, metric: str | None, as_json: bool) -> None:
    """Register the run that was chosen, and print how it stands among the runs of its dataset.

    \b
    Example: bakeoff propose 3f2a9c0d41b7
    """
    with deps() as wired:
        task = load_task(task_name)
        ranking = compare_with_others(wired, task, run_id, metric)
        say(comparison_text(ranking))
        result = register_run(wired, task, run_id, policy or policy_id(task_name), {})
    return answer(as_json, {**result, "comparison": ranking}, _registered_text(result))


def register_run(wired: Deps, task: Task, run_id: str, policy: str, requested: Mapping[str, object]) -> dict[str, Any]:
    """Fetches, checks, tries out and registers one run; JSON values about the version."""
    found = full_id(wired, task.name, run_id)
    with wired.db.transaction() as conn:
        incumbent = find_incumbent(conn, policy)

    def dataset(version: str) -> Dataset:
        with wired.db.transaction() as conn:
            return find_dataset(conn, task.name, version)

    trained = from_run(
        wired.tracker,
        wired.bases,
        task,
        found,
        find_dataset=dataset,
        requested=requested,
        folder=wired.work / "registered" / found,
        price=Price() if incumbent is None else incumbent.spec.price,
    )
    for line in trained.assumed:
        say(f"assumed {line}")
    version = lifecycle.register(wired, task, trained, policy)
    return _result(trained, version)


def compare_with_others(wired: Deps, task: Task, run_id: str, metric: str | None) -> dict[str, Any]:
    """The run among all finished runs of its dataset that have scores by row."""
    mine = by_id(wired.tracker.list_runs(task.name), run_id)
    others = [run for run in choose(wired, task.name, (), mine.params.get("dataset_version")) if run != mine]
    return comparison(wired, task, [mine, *others], metric)


def read_requested(path: Path | None) -> dict[str, object]:
    """Parameters by name from a JSON file. Raises UsageError."""
    if path is None:
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError(
            f"{path} holds no JSON object", cure='expected for instance {"epochs": 3, "learning_rate": 2e-4}'
        )
    return body


def _result(trained: Trained, version: PolicyVersion) -> dict[str, Any]:
    return {
        "policy_version": version.name,
        "model": lineage.models_uri(version),
        "mlflow_run_id": trained.run_id,
        "dataset_version": trained.dataset_version,
        "dataset_digest": trained.dataset_digest,
        "fingerprint": version.fingerprint,
        "assumed": list(trained.assumed),
    }


def _registered_text(result: Mapping[str, Any]) -> str:
    name = result["policy_version"]
    return f"{result['model']} is registered as {name}, run {result['mlflow_run_id']}\nnext: bakeoff gate {name}"
