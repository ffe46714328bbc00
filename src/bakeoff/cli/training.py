"""``bakeoff train``: also what ``train_planner.py`` calls."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.cli import lineage
from bakeoff.cli.lookup import LATEST, find_dataset, find_incumbent
from bakeoff.cli.runs import full_id
from bakeoff.cli.session import answer, as_json, deps, outline, policy_id, say, task_option
from bakeoff.cli.tuned import typed, with_tuned
from bakeoff.datasets import files
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset
from bakeoff.errors import UsageError
from bakeoff.fingerprint import short
from bakeoff.inference.model import Price
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Task
from bakeoff.training import launch, starts
from bakeoff.training.model import DPO_DEFAULTS, LEARNING_RATES, LORA_RANKS, RECIPES, TrainSpec
from bakeoff.training.run import CHECKPOINTS, Trained

if TYPE_CHECKING:
    from bakeoff.training.plan import Plan

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULTS = {field.name: field.default for field in fields(TrainSpec)}
_SHOWN = ("training_loss", "validation_loss")


NO_SETTINGS = ("plan", "as_json", "config", "measure", "help")
"""Options that say what to do now, not what to train: a --config file has no place for them."""


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """The file's values become defaults: what is typed beside it wins. A key is an option's name."""
    if path is None:
        return None
    names = {
        spelled.lstrip("-").replace("-", "_"): option.name
        for option in ctx.command.params
        if option.name not in NO_SETTINGS
        for spelled in option.opts
    }
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", cure="a line is for instance: epochs = 3") from error
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = names.get(key.replace("-", "_"))
        if name is None or isinstance(value, dict | list):
            close = get_close_matches(key, names, n=1)
            raise UsageError(
                f"{path} has a setting {key!r} that train does not know"
                + (f"; did you mean {close[0]!r}?" if close else ""),
                cure=f"known: {', '.join(sorted(names))}",
            )
        found[name] = str(value)
    ctx.default_map = {**(ctx.default_map or {}), **found}
    return path


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
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            is_eager=True,
            callback=_read_config,
            help="TOML file with these options; what is typed beside it wins.",
        ),
        click.option(
            "--recipe", type=click.Choice(RECIPES), default=RECIPES[0], show_default=True, help="How to train."
        ),
        click.option("--from-run", help="lora_dpo: run id or folder of the adapter that it goes on from."),
        _number("epochs", int, "Times that every row is seen."),
        click.option(
            "--learning-rate",
            type=float,
            default=None,
            help=f"Peak.  [default: {DEFAULTS['learning_rate']:g}; lora_dpo {LEARNING_RATES['lora_dpo']:g}]",
        ),
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
        _number("beta", float, f"lora_dpo: how near to stay to the start.  [default: {DPO_DEFAULTS['beta']}]"),
        _number("sft_weight", float, f"lora_dpo: supervised share.  [default: {DPO_DEFAULTS['sft_weight']}]"),
        _number("min_pairs", int, f"lora_dpo: fewer are refused.  [default: {DPO_DEFAULTS['min_pairs']}]"),
        _modes(),
        _dtype(),
        click.option("--price-prompt", type=float, help="Per million tokens.  [default: the incumbent's]"),
        click.option("--price-completion", type=float, help="Per million tokens.  [default: the incumbent's]"),
        click.option(
            "--processes",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes of this machine that share every batch, one per GPU; changes speed, not the result.",
        ),
        click.option("--tuned", is_flag=True, help="Take what `bakeoff tune` found; what is typed beside it wins."),
        click.option("--plan", is_flag=True, help="Print what would be trained, how long and how large, and stop."),
        click.option("--measure/--no-measure", default=True, help="With --plan: time a few real steps where needed."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@task_option
@click.option("--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest.")
@click.option(
    "--base-model", "--base", "base", default="smollm2", show_default=True, help="An alias, a hub id or a folder."
)
@spec_options
@as_json
def train(task_name: str, dataset_name: str, base: str, as_json: bool, **options: Any) -> None:
    """Fine-tune a base model on a dataset, log it to MLflow, register the model and its policy version.

    The same spec on the same data is the run that is there. A run that was killed or stopped goes on from its last
    checkpoint when the same command is typed again, with the same result.

    \b
    Example: bakeoff train --dataset latest --base-model smollm2 --epochs 2
             bakeoff train --config run.toml --plan
             bakeoff train --recipe lora_dpo --from-run 0af3... --epochs 1
    """
    plugins.load_task(task_name)  # a task that is not installed has no dataset either
    with deps() as wired:
        with wired.db.transaction() as conn:
            dataset = find_dataset(conn, task_name, dataset_name)
        run(wired, task_name, dataset, base, as_json=as_json, **options)


def run(
    wired: Deps,
    task_name: str,
    dataset: Dataset,
    base: str,
    *,
    as_json: bool,
    plan: bool,
    measure: bool = True,
    tuned: bool = False,
    processes: int = 1,
    **options: Any,
) -> None:
    """Trains and registers, or says what would be trained."""
    task = plugins.load_task(task_name)
    if dataset.task != task_name:
        raise UsageError(f"{dataset.uri} is a dataset of task {dataset.task!r}, not of {task_name!r}")
    with wired.db.transaction() as conn:
        incumbent = find_incumbent(conn, policy_id(task_name))
    price = declared_price(options.pop("price_prompt"), options.pop("price_completion"), incumbent)
    options["dtype"] = options["dtype"] or bootstrap.dtype(settings.load())
    if not tuned:
        options = settled(wired, task_name, options)
        # What cannot work is said now: the base model may have to be downloaded or unpacked first.
        launch.require_machine(_spec(task, dataset, base, "not yet", options), processes)
    with wired.progress.stage("base model"):
        found = wired.bases.resolve(base)
    if tuned:
        options = settled(wired, task_name, with_tuned(wired, task, dataset, found.digest, options, typed()))
    spec = _spec(task, dataset, base, found.digest, options)
    if plan:
        from bakeoff.training.plan import plan as planned  # reads and encodes the rows

        worked_out = planned(
            task, dataset, spec, base_dir=found.path, work=wired.work, threads=wired.threads, processes=processes,
            measure=measure,
        )  # fmt: skip
        body = {**asdict(spec), "train_fingerprint": spec.fingerprint, "dataset": dataset.uri, "price": asdict(price)}
        return answer(as_json, body | estimate(worked_out), f"{outline(body)}\n{plan_text(worked_out)}")
    say(f"training {base} on {dataset.splits.get('train', 0)} rows of {dataset.uri}")
    kept = sorted((wired.work / "runs" / short(spec.fingerprint) / CHECKPOINTS).glob("step-*"))
    if kept:
        say(f"this run was broken off; its last checkpoint is of step {int(kept[-1].name.removeprefix('step-'))}")
    trained = lifecycle.train(wired, task, dataset, spec, price=price, processes=processes)
    version = lifecycle.register(wired, task, trained, policy_id(task_name))
    body = _body(wired, trained, version)
    return answer(as_json, body, _text(body))


def _spec(task: Task, dataset: Dataset, base: str, base_digest: str, options: Mapping[str, Any]) -> TrainSpec:
    return TrainSpec(
        task=task.name,
        dataset_digest=dataset.digest,
        base=base,
        base_digest=base_digest,
        prompt_version=task.prompt_version,
        **options,
    )


def settled(wired: Deps, task_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options as fields of TrainSpec. For lora_dpo the adapter that it starts from is fetched, and says its rank."""
    asked = {name: value for name, value in options.items() if name not in ("config", "from_run")}
    asked["lora_layers"] = layers(asked["lora_layers"])
    if asked["learning_rate"] is None:
        asked["learning_rate"] = LEARNING_RATES.get(asked["recipe"], DEFAULTS["learning_rate"])
    if options.get("from_run") is None:
        return asked

    def fetch(run: str, to: Path) -> Path:
        return wired.tracker.download(full_id(wired, task_name, run), to, "adapter")

    start = starts.keep(wired.work, options["from_run"], fetch)
    for name in ("lora_r", "lora_alpha"):
        if asked[name] == DEFAULTS[name] and name not in typed():
            asked[name] = getattr(start, name)
    return asked | {"start": start.digest}


def estimate(planned: "Plan") -> dict[str, Any]:
    """What a plan says beside its spec."""
    body = {name: value for name, value in asdict(planned).items() if name != "spec"}
    body["memory"] = asdict(planned.memory) | {"total": planned.memory.total}
    return body | {"seconds": planned.seconds}


def plan_text(planned: "Plan") -> str:
    """A few lines for people."""
    memory, speed = planned.memory, planned.speed
    gigabytes = ", ".join(f"{name} {getattr(memory, name) / 1e9:.2f}" for name in ("base", "adapter", "activations"))
    time_text = (
        "unknown: no run of this kind is kept here, and nothing was measured"
        if speed is None
        else f"about {duration(planned.seconds or 0)} at {speed.tokens_per_second:.0f} tokens/s ({speed.source})"
    )
    crew = f" in each of {planned.processes} processes" if planned.processes > 1 else ""
    return (
        f"{planned.rows} rows ({planned.rows_too_long} too long), {planned.validation_rows} for validation; "
        f"{planned.tokens} tokens in {planned.steps} steps\n"
        f"  {planned.trainable_parameters} of {planned.base_parameters} parameters are trained\n"
        f"  time: {time_text}\n"
        f"  memory: about {memory.total / 1e9:.1f} GB{crew} ({gigabytes})\n"
        f"  would be logged: {', '.join(planned.logged)}"
    )


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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
        cure="bakeoff dataset list shows the ones that are there, bakeoff dataset build makes one",
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
