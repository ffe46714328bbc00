"""``bakeoff merge``: a whole model for servers that take no adapters."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bakeoff.cli.lookup import task_of
from bakeoff.cli.runs import full_id
from bakeoff.cli.session import answer, as_json, deps, policy_id, task_option
from bakeoff.errors import Refused, UsageError
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.training.adapter import ENCODING, adapter_digest, read_encoding

if TYPE_CHECKING:
    from bakeoff.adapters.generation.merge import Dtype, Merged

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An adapter on this machine and the base that it was trained over."""

    name: str  # of the policy version, or id of the run
    task: str
    adapter: Path
    base: str  # alias, hub id or folder
    base_digest: str | None  # None where nobody said


@click.command()
@task_option
@click.argument("name", metavar="RUN_OR_VERSION")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="New or empty folder.")
@click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True, help="Of what is written.")
@as_json
def merge(task_name: str, name: str, out: Path, dtype: str, as_json: bool) -> None:
    """Fold an adapter into its base: one model folder, for servers that load no adapters.

    Merged in float32 and compared with base and adapter apart before it counts; rounded to --dtype after that. The
    tokenizer with its chat template goes along. A merged model is a policy version of its own: replay it and let it
    pass the gate before it serves anybody.

    \b
    Example: bakeoff merge planner_policy/3 --out merged
             bakeoff merge 3f2a9c0d41b7 --out merged --dtype bfloat16 --json
    """
    from bakeoff.adapters.generation.merge import merge_adapter, require_empty

    require_empty(out)
    with deps() as wired, tempfile.TemporaryDirectory(prefix="bakeoff-") as scratch:
        source = (
            of_version(wired, name, Path(scratch)) if "/" in name else of_run(wired, task_name, name, Path(scratch))
        )
        base = wired.bases.resolve(source.base)
        if source.base_digest not in (None, base.digest):
            raise Refused(
                f"{source.name} was trained over a base {source.base!r} with digest {source.base_digest}, on this "
                f"machine it is {base.digest}",
                cure="install the weights that it was trained over; an adapter fits no others",
            )
        with wired.progress.stage("merge") as move:
            merged = merge_adapter(base.path, source.adapter, out, dtype=cast("Dtype", dtype), on_stage=move)
        body = _body(source, merged)
    return answer(as_json, body, _text(body, source.task))


def of_version(wired: Deps, name: str, to: Path) -> Source:
    """The adapter that a policy version names, as it is registered. Raises UsageError for one that has none, Refused
    where the registry gives another than was judged."""
    with wired.db.transaction() as conn:
        version = policies.find_version(conn, name)
        task = task_of(conn, version)
    model = version.spec.model
    if model is None or model.adapter is None or not version.mlflow_model_name:
        raise UsageError(
            f"{version.name} has no adapter ({version.what}), so there is nothing to merge",
            cure="bakeoff policy list shows the versions; those that were trained have a model",
        )
    wired.models.download(version.mlflow_model_name, str(version.mlflow_model_version), to)
    found = adapter_digest(to / "adapter")
    if found != model.adapter_digest:
        raise Refused(
            f"{model.adapter} holds adapter {found}, {version.name} was made of {model.adapter_digest}",
            cure="look at the artefact store; the version must not be used",
        )
    return Source(name=version.name, task=task, adapter=to / "adapter", base=model.base, base_digest=model.base_digest)


def of_run(wired: Deps, task_name: str, name: str, to: Path) -> Source:
    """The adapter that a run logged, by whatever trainer. Raises UsageError."""
    from bakeoff.registry.from_run import fetch_adapter

    record = wired.tracker.read_run(full_id(wired, task_name, name))
    base = record.params.get("base_model", "").strip()
    if not base:
        raise UsageError(f"run {record.run_id} did not log over which base_model it trained")
    adapter = fetch_adapter(wired.tracker, record, to)
    said = read_encoding(adapter)["base_digest"] if (adapter / ENCODING).is_file() else record.params.get("base_digest")
    return Source(name=record.run_id, task=task_name, adapter=adapter, base=base, base_digest=said)


def _body(source: Source, merged: "Merged") -> dict[str, Any]:
    return {
        "merged": source.name,
        "base": source.base,
        "folder": str(merged.folder),
        "digest": merged.digest,
        "dtype": merged.dtype,
        "difference": merged.difference,
        "rounding": merged.rounding,
    }


def _text(body: Mapping[str, Any], task_name: str) -> str:
    rounded = (
        f"\n  rounding to {body['dtype']} moved them by {body['rounding']:.1e}" if body["dtype"] != "float32" else ""
    )
    return (
        f"{body['folder']}: {body['base']} with the adapter of {body['merged']}, {body['dtype']} safetensors\n"
        f"  logits differ from base and adapter apart by {body['difference']:.1e} of the largest, in float32{rounded}\n"
        f"next: bakeoff policy create --task {task_name} --base {body['folder']} makes it a version of "
        f"{policy_id(task_name)} that can be replayed and judged"
    )
