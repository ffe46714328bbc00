"""``bakeoff replay``"""

import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import LATEST, find_dataset, find_incumbent, task_of
from bakeoff.cli.session import answer, as_json, deps, say
from bakeoff.datasets.model import Dataset, Split
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay.model import Certificate, ReplayReport

dataset_option = click.option(
    "--dataset", "dataset_name", default=LATEST, show_default=True, help="Version, digest, folder or latest."
)
sample_option = click.option(
    "--sample", type=click.IntRange(min=1), help="Only so many rows, neutral ones first.  [default: all]"
)
seed_option = click.option("--seed", default=0, show_default=True, help="Another seed is another sample.")


def shard_of_many(text: str) -> tuple[int, int]:
    """'2/4' is the second of four. For `click.option(type=...)`."""
    number, slash, many = text.partition("/")
    if not (slash and number.isdecimal() and many.isdecimal() and 1 <= int(number) <= int(many)):
        raise click.BadParameter(f"{text!r} is no shard; expected for instance 2/4, the second of four")
    return int(number), int(many)


@click.command()
@click.argument("name")
@dataset_option
@click.option(
    "--split",
    type=click.Choice([Split.TEST.value, Split.VALIDATION.value]),
    default=Split.TEST.value,
    show_default=True,
    help="A gate reads test only; look at validation while you try things.",
)
@sample_option
@seed_option
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Answers per row, of randomised python policies and remote models.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes side by side.  [default: as many as cores for local models on the CPU, else 1]",
)
@click.option("--no-cache", is_flag=True, help="Answer everything anew, also what was answered before.")
@click.option(
    "--shard",
    type=shard_of_many,
    metavar="K/N",
    help="Of several machines over one database this is number K; finish without it.",
)
@as_json
def replay(
    name: str,
    dataset_name: str,
    split: str,
    sample: int | None,
    seed: int,
    repeats: int,
    workers: int | None,
    no_cache: bool,
    shard: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Run a policy version over a dataset's held-out requests and score every answer.

    Rows that are there already are not answered again, so a stopped replay goes on where it was; answers of a model
    to the same prompt come from the cache and are scored again. The number of workers changes how long it takes, and
    nothing else. Every replay ends with a certificate: a sample is answered a second time, in another order.

    \b
    Example: bakeoff replay planner_policy/3 --dataset latest --sample 80
             bakeoff replay planner_policy/4 --split validation --repeats 3
    """
    if shard and no_cache:
        raise click.UsageError("--shard and --no-cache do not go together: machines go on with each other's rows")
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
            dataset = find_dataset(conn, task_of(conn, version), dataset_name)
            incumbent = find_incumbent(conn, version.policy_id)
        task, began = plugins.load_task(dataset.task), wired.clock()
        how: dict[str, Any] = {
            "split": Split(split),
            "sample": sample,
            "seed": seed,
            "repeats": repeats,
            "neutral_to": compared(sample, version, incumbent),
            "workers": workers,
        }
        if shard:
            rows, missing = lifecycle.replay_shard(
                wired, task, version, dataset, shard=shard[0], shards=shard[1], **how
            )
            body = {"policy_version": version.name, "shard": shard[0], "shards": shard[1], "rows": rows}
            answer(as_json, body | {"missing": missing}, _shard_text(version, shard, rows, missing))
            return
        report = lifecycle.replay(wired, task, version, dataset, **how, use_cache=not no_cache)
    is_old = report.finished_at is not None and report.finished_at < began
    for line in [*([_looked_up(report)] if is_old else []), *_notes(report)]:
        say(line)
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
        "repeats": report.repeats,
        "rows_from_cache": report.cached,
        "deterministic": report.certificate.deterministic,
        "certificate": asdict(report.certificate),
        "aggregates": dict(report.aggregates),
        "engine": dict(report.engine),
        "scored_by": dict(report.scored_by),
        "finished_at": report.finished_at,
    }


def _replay_text(version: PolicyVersion, dataset: Dataset, report: ReplayReport) -> str:
    shown = {
        name: value
        for name, value in sorted(report.aggregates.items())
        if name != "rows" and not (name.endswith("_coverage") and value == 1.0)
    }
    cached = f", {report.cached} of them from the cache" if report.cached else ""
    return "\n".join(
        [
            f"{version.name} over {report.aggregates['rows']:.0f} held-out rows of dataset {dataset.version} "
            f"({_which(report)}){cached}",
            *(f"  {name:<34} {value:.4g}" for name, value in shown.items()),
            certificate_text(report.certificate),
            f"replay {report.replay_id}   digest {report.digest}",
        ]
    )


def _which(report: ReplayReport) -> str:
    chosen = report.selection
    slices = f", slices {', '.join(map(str, chosen['slices']))}" if chosen.get("slices") else ""
    sample = f", a sample of {chosen['sample']}" if chosen.get("sample") else ""
    return f"{chosen['split']} split{slices}{sample}"


def certificate_text(certificate: Certificate) -> str:
    """One sentence, or with noise a line per metric."""
    again = f"{certificate.equal} of {certificate.rows} answers were the same the second time"
    if certificate.kind == "exact":
        if certificate.deterministic:
            return f"deterministic: {again}"
        return f"NOT deterministic: {again}; pin what changes, then type the same with --no-cache"
    lines = [f"  {name:<34} {bound:.2g}" for name, bound in sorted(certificate.noise.items())]
    return "\n".join([f"a remote engine: {again}; from run to run a mean moves by at most (95 %)", *lines])


def _looked_up(report: ReplayReport) -> str:
    when = f"{report.finished_at:%Y-%m-%d %H:%M} UTC"
    return f"done before, {when}: nothing was answered now; --no-cache answers everything anew"


def _notes(report: ReplayReport) -> Iterator[str]:
    """What a reader should know before the figures."""
    moved = {
        name: (then, now)
        for name, then in dict(report.engine.get("versions", {})).items()
        if (now := _installed(name)) not in (then, None)
    }
    if moved:
        told = ", ".join(f"{name} {then} (now {now})" for name, (then, now) in sorted(moved.items()))
        yield f"note: answered with {told}; --no-cache answers everything with what is installed now"
    if report.repeats > 1 and report.aggregates.get("varying") == 0.0:
        yield "note: all repeats gave the same answers, so one says as much"


def _installed(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _shard_text(version: PolicyVersion, shard: tuple[int, int], rows: int, missing: int) -> str:
    rest = (
        f"{missing} rows of other shards are missing yet"
        if missing
        else "no row is missing: the same command without --shard ends the replay"
    )
    return f"{version.name}: shard {shard[0]} of {shard[1]} has its {rows} rows; {rest}"
