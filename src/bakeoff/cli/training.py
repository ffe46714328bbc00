"""``bakeoff train``: also what ``train_planner.py`` calls."""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, TypeVar

import click

from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.cli import lineage
from bakeoff.cli.lookup import LATEST, find_dataset, find_incumbent
from bakeoff.cli.session import answer, as_json, deps, outline, policy_id, say, task_option
from bakeoff.datasets import files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.training.model import LORA_RANKS, TrainSpec
from bakeoff.training.run import Trained

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULTS = {field.name: field.default for field in fields(TrainSpec)}
_SHOWN = ("training_loss", "validation_loss")


def _number(name: str, kind: type, text: str) -> Callable[[Command], Command]:
    default = DEFAULTS[name]
    return click.option(
        f"--{name.replace('_', '-')}", name, type=kind, default=default, show_default=default is not None, help=text
    )


def _dtype() -> Callable[[Command], Command]:
    kinds = click.Choice(["float32", "bfloat16"])
    return click.option("--dtype", type=kinds, help="Numerics of the frozen base.  [default: what is fast here]")


def _modes() -> Callable[[Command], Command]:
    kinds = click.Choice(["choices", "greedy"])
    text = "What the model sees at the open places of an answer."
    return click.option("--decoding-mode", type=kinds, default="choices", show_default=True, help=text)


def spec_options(command: Command) -> Command:
    """Every field of TrainSpec that a person may want to change."""
    options: list[Callable[[Command], Command]] = [
        _number("epochs", int, "Times that every row is seen."),
        _number("learning_rate", float, "Peak of the schedule."),
        _number("batch_size", int, "Rows per optimizer step."),
        _number("micro_batch", int, "Rows per forward pass; changes speed and memory, not the result."),
        _number("lora_r", int, f"Rank of the adapter, one of {', '.join(map(str, LORA_RANKS))}."),
        _number("lora_alpha", int, "The adapter's scale is this over its rank."),
        click.option(
            "--lora-layers",
            default=str(DEFAULTS["lora_layers"]),
            show_default=True,
            help="The last n layers get an adapter; 'all'.",
        ),
        _number("max_rows", int, "Only the newest n rows.  [default: all]"),
        _number("max_tokens", int, "Longer rows are left out."),
        _number("seed", int, "Order of the rows and first weights of the adapter."),
        _modes(),
        _dtype(),
        click.option("--price-prompt", type=float, help="Per million tokens.  [default: the incumbent's]"),
        click.option("--price-completion", type=float, help="Per million tokens.  [default: the incumbent's]"),
        click.option("--plan", is_flag=True, help="Print what would be trained, and stop."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@task_option
@click.option("--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest.")
@click.option("--base", default="smollm2", show_default=True, help="Base model: an alias, a hub id or a folder.")
@spec_options
@as_json
def train(task_name: str, dataset_name: str, base: str, as_json: bool, **options: Any) -> None:
    """Fine-tune a base model on a dataset, log it to MLflow, register the model and its policy version.

    The same spec on the same data is the run that is there; Ctrl-C leaves nothing that counts.

    \b
    Example: bakeoff train --dataset latest --base smollm2 --epochs 2
             bakeoff train --dataset 2025-01-03 --base smollm2 --plan
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            dataset = find_dataset(conn, task_name, dataset_name)
        run(wired, task_name, dataset, base, as_json=as_json, **options)


def run(wired: Deps, task_name: str, dataset: Dataset, base: str, *, as_json: bool, plan: bool, **options: Any) -> None:
    """Trains and registers, or says what would be trained."""
    task = plugins.load_task(task_name)
    if dataset.task != task_name:
        raise UsageError(f"{dataset.uri} is a dataset of task {dataset.task!r}, not of {task_name!r}")
    with wired.db.transaction() as conn:
        incumbent = find_incumbent(conn, policy_id(task_name))
    price = declared_price(options.pop("price_prompt"), options.pop("price_completion"), incumbent)
    found = wired.bases.resolve(base)
    options["dtype"] = options["dtype"] or bootstrap.dtype(settings.load())
    spec = TrainSpec(
        task=task_name,
        dataset_digest=dataset.digest,
        base=base,
        base_digest=found.digest,
        prompt_version=task.prompt_version,
        **{**options, "lora_layers": layers(options["lora_layers"])},
    )
    if plan:
        body = {**asdict(spec), "train_fingerprint": spec.fingerprint, "dataset": dataset.uri, "price": asdict(price)}
        return answer(as_json, body, outline(body))
    say(f"training {base} on {dataset.splits.get('train', 0)} rows of {dataset.uri}")
    trained = lifecycle.train(wired, task, dataset, spec, price=price)
    version = lifecycle.register(wired, task, trained, policy_id(task_name))
    body = _body(wired, trained, version)
    return answer(as_json, body, _text(body))


def layers(text: str) -> int | None:
    """'10' or 'all'."""
    if text == "all":
        return None
    if not text.isdigit():
        raise UsageError(f"--lora-layers {text} is no number of layers", cure="expected for instance 10, or all")
    return int(text)


def declared_price(prompt: float | None, completion: float | None, incumbent: PolicyVersion | None) -> Price:
    """What an answer will be said to cost: what was given, else what the incumbent's answers cost."""
    usual = Price() if incumbent is None else incumbent.spec.price
    return Price(
        per_million_prompt_tokens=usual.per_million_prompt_tokens if prompt is None else prompt,
        per_million_completion_tokens=usual.per_million_completion_tokens if completion is None else completion,
        currency=usual.currency,
    )


def _body(wired: Deps, trained: Trained, version: PolicyVersion) -> dict[str, Any]:
    metrics = wired.tracker.read_run(trained.run_id).metrics
    return {
        "policy_version": version.name,
        "model": lineage.models_uri(version),
        "mlflow_run_id": trained.run_id,
        "reused": trained.reused,
        "dataset_version": trained.dataset_version,
        "dataset_digest": trained.dataset_digest,
        "fingerprint": version.fingerprint,
        "metrics": {name: value for name, value in sorted(metrics.items()) if name in _SHOWN or name[:5] == "eval_"},
    }


def _text(body: dict[str, Any]) -> str:
    how = "was there already" if body["reused"] else "is registered"
    scores = "\n".join(f"  {name:<32} {value:.3f}" for name, value in body["metrics"].items())
    name = body["policy_version"]
    return f"{body['model']} {how} as {name}, run {body['mlflow_run_id']}\n{scores}\nnext: bakeoff gate {name}"


def dataset_at(wired: Deps, path: str) -> Dataset:
    """The dataset in folder `path`; a folder that is absent is looked for below the dataset root, and that is said.

    Raises UsageError that names both places."""
    for place in (path.rstrip("/"), *below_root(path, wired.datasets_root)):
        try:
            found = files.describe(place)
        except UsageError:
            continue
        if place != path.rstrip("/"):
            say(f"{path} is absent; using {found.uri}")
        return _recorded(wired, found)
    raise UsageError(
        f"no dataset in {path}, nor of that name below {wired.datasets_root}",
        cure="bakeoff dataset list shows the ones that are there",
    )


def below_root(path: str, root: str) -> list[str]:
    """Where ``/datasets/planner/2025-01-03`` may lie below another root: its last parts, most of them first."""
    parts = [part for part in path.split("/") if part]
    return ["/".join([root.rstrip("/"), *parts[n:]]) for n in range(len(parts))]


def _recorded(wired: Deps, found: Dataset) -> Dataset:
    with wired.db.transaction() as conn:
        known = datasets.by_digest(conn, found.digest)
    if known is None:
        say(f"{found.uri} is not recorded in this database: a replay over it needs it there")
    return known or found
