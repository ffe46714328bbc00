"""``bakeoff policy``"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli import lineage
from bakeoff.cli.creating import create, version_row
from bakeoff.cli.lookup import find_incumbent, moment
from bakeoff.cli.session import answer, as_json, deps, outline, policy_id, table
from bakeoff.errors import UsageError
from bakeoff.experiments import store as experiments
from bakeoff.inference.model import external_spec
from bakeoff.policies import store as policies
from bakeoff.policies.approve import check_past
from bakeoff.policies.model import PolicyVersion

START = (
    "bakeoff policy adopt --external --since DAY starts from what your application does by itself, "
    "bakeoff policy create --base smollm2 makes a version that bakeoff answers with"
)


@click.group()
def policy() -> None:
    """Policies and their numbered versions: what is replayed, judged, tried and served.

    \b
    Example: bakeoff policy create --base smollm2
             bakeoff policy create --endpoint house --model qwen3:8b --prompt prompt.txt
             bakeoff policy adopt planner_policy/1 --by Ada --reason "the prompt that we have"
             bakeoff policy adopt --external --since 2024-01-01 --by Ada --reason "what we have"
             bakeoff policy show planner_policy/1
    """


policy.add_command(create)


@policy.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Every policy version with its status.

    \b
    Example: bakeoff policy list
    """
    with deps() as wired, wired.db.transaction() as conn:
        rows = [
            version_row(version, serves=version == incumbent)
            for known in policies.all_policies(conn)
            for incumbent in [find_incumbent(conn, known.policy_id)]
            for version in policies.versions(conn, known.policy_id)
        ]
    text = table(rows) or f"no policy yet; {START}"
    answer(as_json, {"policy_versions": rows}, text)


@policy.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """What a version is made of: model, run, dataset; what was judged, who approved, where it was tried.

    \b
    Example: bakeoff policy show planner_policy/3
    """
    with deps() as wired, wired.db.transaction() as conn:
        version = policies.find_version(conn, name)
        body = lineage.of_version(conn, version)
    body["spec"] = spec = asdict(version.spec)
    shown = {**spec, "prompt": None if version.spec.prompt is None else first_lines(version.spec.prompt)}
    answer(as_json, body, outline({**body, "spec": shown}))


SHOWN = 3
"""Lines of a prompt; --json has it whole."""


def first_lines(prompt: str) -> list[str]:
    """A prompt's beginning, and how much more there is."""
    lines = prompt.splitlines()
    shown = [line if len(line) <= 100 else f"{line[:100]}..." for line in lines[:SHOWN]]
    more = f"... ({len(lines)} lines, {len(prompt)} characters; --json shows it whole)"
    return shown if shown == lines else [*shown, more]


@policy.command()
@click.argument("name", metavar="POLICY/VERSION", required=False)
@click.option("--by", "signed_by", required=True, help="Who decides.")
@click.option("--reason", required=True, help="Why this is what you start from.")
@click.option("--explorer", help="A version of random answers with known propensity.")
@click.option(
    "--explorer-share",
    type=click.FloatRange(0, 0.5),
    help="Share of decisions that the explorer takes.  [default: 0.1 with --explorer]",
)
@click.option("--last-resort", help="The python version that answers when the assigned one fails.")
@click.option("--external", is_flag=True, help="What your application does without bakeoff; no version is named.")
@click.option("--since", type=moment, help="With --external: since when it has answered like that.")
@click.option("--task", "task_name", help="With --external: the task (domain).  [default: planner]")
@click.option("--name", "called", help="With --external: what to call it.  [default: before bakeoff]")
@as_json
def adopt(name: str | None, as_json: bool, **given: Any) -> None:
    """Start from a version: serve it to everyone, without evidence but with a name and a reason.

    Where an application has answered by itself so far, start from that: --external. It goes on answering; its past
    can then be imported (bakeoff events import), learnt from, and compared with.
    Once something serves, the next versions go the long way: gate, approve, experiment, promote.

    \b
    Example: bakeoff policy adopt --external --since 2024-01-01 --by Ada --reason "what we have"
             bakeoff policy adopt planner_policy/1 --by Ada --reason "the prompt that we have" \\
                 --explorer planner_policy/3 --explorer-share 0.1 --last-resort planner_policy/2
    """
    _check_adoption(name, given)
    body, text = _adopt_external(given) if given["external"] else _adopt_version(str(name), given)
    answer(as_json, body, text)


def _check_adoption(name: str | None, given: Mapping[str, Any]) -> None:
    """Raises UsageError for options that do not go together."""
    if not given["external"]:
        alone = [option for option, key in EXTERNAL_ONLY.items() if given[key] is not None]
        if name is None or alone:
            raise UsageError(
                f"{' and '.join(alone)} {'go' if alone[1:] else 'goes'} with --external" if alone
                else "which version? none is named",
                cure="for what your application does by itself: bakeoff policy adopt --external --since DAY; "
                "for a version of bakeoff's: bakeoff policy adopt POLICY/VERSION (bakeoff policy list shows them)",
            )  # fmt: skip
        if given["explorer_share"] is not None and given["explorer"] is None:
            raise UsageError("--explorer-share needs --explorer", cure="name the version: --explorer planner_policy/3")
        return
    if name is not None:
        raise UsageError(
            f"--external makes a version for your application itself, and {name} is another one",
            cure="leave the version out; to call it something: --name",
        )
    if given["explorer"] is not None or given["explorer_share"] is not None:
        raise UsageError(
            "bakeoff cannot explore where your application answers by itself, so --explorer goes without --external",
            cure="rows that are neutral come from plans that people made unaided, until a version of bakeoff's serves",
        )
    if given["last_resort"] is not None:
        raise UsageError(
            "a last resort answers when a version of bakeoff's fails; your application answers by itself here",
            cure="name it when there is such a version: bakeoff policy last-resort POLICY/VERSION",
        )
    if given["since"] is None:
        raise UsageError(
            "--external needs --since: events before that day do not belong to it",
            cure="give the day since which your application has answered like that: --since 2024-01-01",
        )


EXTERNAL_ONLY = {"--since": "since", "--task": "task_name", "--name": "called"}


def _adopt_external(given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    task = plugins.load_task(given["task_name"] or "planner").name
    spec = external_spec(task, given["called"] or "before bakeoff")
    with deps() as wired:
        check_past(given["since"], wired.clock())
        with wired.db.transaction() as conn:
            serving = find_incumbent(conn, policy_id(task))
        if serving is not None and serving.fingerprint != spec.fingerprint:
            raise UsageError(
                f"{serving.name} serves {serving.policy_id} already: {serving.what}; only what a policy starts from "
                "is adopted",
                cure="bakeoff status says what comes next",
            )
        version = lifecycle.create_policy(wired, policy_id(task), spec)
        default = lifecycle.adopt(
            wired, version, signed_by=given["signed_by"], reason=given["reason"], since=given["since"]
        )
        with wired.db.transaction() as conn:
            first = experiments.phases(conn, default.experiment_id)[0]
    began_at = first.began_at
    if began_at != given["since"]:
        raise UsageError(
            f"{version.name} was adopted before, since {began_at:%Y-%m-%d %H:%M} UTC; it stays as it is",
            cure="events before that moment can be learnt from in a policy of their own, not in this one",
        )
    body = {
        "policy_version": version.name,
        "what": version.what,
        "context": {  # of every event that it logs by itself, with the decision's id
            "experiment_id": default.experiment_id,
            "variant_id": first.control_variant_id,
            "policy_version_id": version.policy_version_id,
        },
        "since": began_at.isoformat(),
    }
    text = (
        f"{version.name} is {version.what}, since {began_at:%Y-%m-%d}; adopted by {given['signed_by']}. "
        f"It goes on answering by itself.\nnext: bakeoff events import FILE --policy {version.name}"
    )
    return body, text


def _adopt_version(name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    explorer, last_resort = given["explorer"], given["last_resort"]
    share = 0.0 if explorer is None else 0.1 if given["explorer_share"] is None else given["explorer_share"]
    with deps() as wired:
        with wired.db.transaction() as conn:
            version, explores, rescues = (
                None if each is None else policies.find_version(conn, each) for each in (name, explorer, last_resort)
            )
            assert version is not None  # `name` is given
            _check_nothing_serves(version, find_incumbent(conn, version.policy_id))
        default = lifecycle.adopt(
            wired,
            version,
            signed_by=given["signed_by"],
            reason=given["reason"],
            explorer=explores,
            explorer_bp=round(share * 10_000),
            last_resort=rescues,
        )
        with wired.db.transaction() as conn:
            current = experiments.phases(conn, default.experiment_id)[-1].treated_bp / 10_000
    if current != share:
        raise UsageError(f"{name} was adopted before, with an explorer share of {current:.0%}; it stays as it is")
    body = {
        "policy_version": version.name,
        "experiment_id": default.experiment_id,
        "explorer": explorer,
        "explorer_share": share,
        "last_resort": last_resort,
    }
    rest = f"; {share:.0%} of decisions by {explorer}" if explorer else ""
    return body, f"{version.name} serves everyone{rest}, adopted by {given['signed_by']}"


def _check_nothing_serves(version: PolicyVersion, serving: PolicyVersion | None) -> None:
    """Raises UsageError with the way that is open instead."""
    if version.is_external and serving is None:
        raise UsageError(
            f"{version.name} is {version.what}, and since when is not said",
            cure=f'bakeoff policy adopt --external --since DAY --name "{version.spec.function_version}"',
        )
    if serving is None or serving.policy_version_id == version.policy_version_id:
        return
    if serving.is_external:
        raise UsageError(
            f"{serving.name} serves {version.policy_id} already: {serving.what}; adopting is for what a policy "
            "starts from",
            cure=f"bakeoff gate {version.name} compares {version.name} with what your application answered; then "
            "approve it, start an experiment (your application answers for its control: decide(..., own=...)) and "
            "promote it",
        )
    raise UsageError(
        f"{serving.name} serves {version.policy_id} already; adopting is for what a policy starts from",
        cure=f"bakeoff gate {version.name} is the way for every later version",
    )


@policy.command("last-resort")
@click.argument("name")
@as_json
def last_resort(name: str, as_json: bool) -> None:
    """Name the python version that answers when the assigned one fails, is too slow or cannot be repaired.

    \b
    Example: bakeoff policy last-resort planner_policy/2
    """
    with deps() as wired:
        with wired.db.transaction() as conn:
            version = policies.find_version(conn, name)
        lifecycle.name_last_resort(wired, version)
    body = {"policy_id": version.policy_id, "last_resort": version.name}
    answer(as_json, body, f"{version.name} is the last resort of {version.policy_id}")
