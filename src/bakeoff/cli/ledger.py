"""``bakeoff ledger``"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from bakeoff.cli.session import answer, as_json, deps, table
from bakeoff.ledger import store
from bakeoff.ledger.compare import ledger as compare
from bakeoff.ledger.model import Entry, Ledger, Predictor
from bakeoff.policies import store as policies
from bakeoff.stats.agreement import LEAST_PAIRS


@click.command()
@click.option("--policy", "policy_name", metavar="POLICY", help="One policy.  [default: all]")
@as_json
def ledger(policy_name: str | None, as_json: bool) -> None:
    """What replay predicted, what was measured on people, and which predictions have been worth something.

    Every number is an advantage over the version that was replaced: positive is better. The view
    offline_online_ledger has the same lines for Metabase or psql.

    \b
    Example: bakeoff ledger --policy planner_policy
    """
    with deps() as wired, wired.db.transaction() as conn:
        names = [policies.find_policy(conn, policy_name)] if policy_name else policies.all_policies(conn)
        found = [compare(policy.policy_id, store.entries(conn, policy.policy_id)) for policy in names]
    text = "\n\n".join(_text(each) for each in found) or "no policy yet"
    answer(as_json, {"policies": [_body(each) for each in found]}, text)


def _body(found: Ledger) -> dict[str, Any]:
    return {
        "policy_id": found.policy_id,
        "entries": [asdict(entry) | {"at": entry.at.isoformat()} for entry in found.entries],
        "predictors": [asdict(each) for each in found.predictors],
        "unpaired": list(found.unpaired),
        "least_pairs": LEAST_PAIRS,
    }


def _text(found: Ledger) -> str:
    if not found.entries:
        return f"{found.policy_id}: nothing was judged or tried yet"
    lines = [f"{found.policy_id}: advantage over the version that each was compared with (positive is better)", ""]
    lines.append(table(_rows(found.entries)))
    if found.unpaired:
        names = ", ".join(f"{found.policy_id}/{version}" for version in found.unpaired)
        lines += ["", f"in no pair, since gate and test compared them with different versions: {names}"]
    lines += ["", *_worth(found.predictors)]
    return "\n".join(lines)


def _rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What is known, one line each; what an experiment only shows is left to --json."""
    shown = [entry for entry in entries if entry.side == "offline" or entry.is_primary]
    return [
        {
            "version": f"{entry.version} over {entry.against}",
            "from": entry.source,
            "metric": entry.name,
            "advantage": _signed(entry.advantage),
            "interval": f"[{_signed(entry.lower) or '?'}, {_signed(entry.upper) or '?'}]",
            "units": entry.units,
            "says": entry.says,
        }
        for entry in shown
    ]


def _worth(predictors: Sequence[Predictor]) -> list[str]:
    if not predictors:
        return ["no version has both a gate report and a test yet, so nothing is known of what predicts"]
    few = [each for each in predictors if each.verdict == "too few"]
    told = [each for each in predictors if each.verdict != "too few"]
    lines = [
        f"what the predictions were worth (one version is one pair; {len(told)} looked at, each interval at 95 %)",
        "",
        table([_row(each) for each in told]),
    ]
    if few:
        most = max(len(each.pairs) for each in few)
        names = ", ".join(sorted({each.offline for each in few}))
        lines = lines if told else []
        lines.append(f"too few pairs to say anything ({most} of at least {LEAST_PAIRS}): {names}")
    return lines


def _row(found: Predictor) -> dict[str, Any]:
    share, ranks = found.signs.share, found.ranks
    return {
        "offline": found.offline,
        "online": found.online,
        "verdict": found.verdict,
        "same sign": f"{found.signs.agreed} of {found.signs.pairs}",
        "share": None if share is None else f"[{share.lower:.2f}, {share.upper:.2f}]",
        "rank correlation": None
        if ranks is None
        else f"{ranks.estimate:+.2f} [{ranks.lower:+.2f}, {ranks.upper:+.2f}]",
    }


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.3g}"
