"""compare: pairs of what was predicted and what was measured, and what can be said of the predictions. Pure.

One version is one pair, so a metric can be trusted only after several tests. Two things make the pairs kinder or
harsher than the truth: only versions that passed a gate are tried (a narrow range lowers correlations), and a test that
ends when it has won exaggerates its win a little (a holdback does not)."""

from collections.abc import Sequence

from bakeoff.ledger.model import Entry, Ledger, Pair, Predictor, Worth
from bakeoff.stats.agreement import LEAST_PAIRS, Ranks, Signs, rank_correlation, sign_agreement

EVEN = 0.5
"""Share of signs that a coin would get right."""


def ledger(policy_id: str, entries: Sequence[Entry]) -> Ledger:
    """`entries` of one policy, in any order."""
    known = sorted(entries, key=lambda e: (e.version, e.side, e.at, e.source, e.source_id, not e.is_primary, e.name))
    paired, unpaired = _paired(known)
    keys = sorted({(offline.name, online.name) for offline, online in paired})
    predictors = [
        _predictor(*key, [_pair(*both) for both in paired if (both[0].name, both[1].name) == key]) for key in keys
    ]
    return Ledger(
        policy_id=policy_id,
        entries=tuple(known),
        predictors=tuple(sorted(predictors, key=_rank)),
        unpaired=tuple(sorted(unpaired)),
    )


def _paired(entries: Sequence[Entry]) -> tuple[list[tuple[Entry, Entry]], set[int]]:
    """Offline and online entries of the same two versions that belong side by side; versions that have none."""
    found: list[tuple[Entry, Entry]] = []
    unpaired: set[int] = set()
    for version in sorted({entry.version for entry in entries}):
        offline = [e for e in entries if e.version == version and e.side == "offline" and e.advantage is not None]
        online = _last_test([e for e in entries if e.version == version])
        if offline and online and offline[0].against != online[0].against:
            unpaired.add(version)
            continue
        found += [(a, b) for a in offline for b in online if b.is_primary or b.metric == a.metric]
    return found, unpaired


def _last_test(entries: Sequence[Entry]) -> list[Entry]:
    """What the newest test of a version measured. A holdback measures the same again: it is shown, and is no second
    pair."""
    measured = [e for e in entries if e.source == "test" and e.advantage is not None]
    newest = max(measured, key=lambda e: e.at, default=None)
    return [] if newest is None else [e for e in measured if e.source_id == newest.source_id]


def _pair(offline: Entry, online: Entry) -> Pair:
    return Pair(version=offline.version, against=offline.against, offline=_value(offline), online=_value(online))


def _value(entry: Entry) -> float:
    assert entry.advantage is not None
    return entry.advantage


def _predictor(offline: str, online: str, pairs: Sequence[Pair]) -> Predictor:
    values = [(pair.offline, pair.online) for pair in pairs]
    signs = sign_agreement(values)
    ranks = rank_correlation(values)
    return Predictor(
        offline=offline,
        online=online,
        pairs=tuple(pairs),
        signs=signs,
        ranks=ranks,
        verdict="too few" if len(pairs) < LEAST_PAIRS else _verdict(signs, ranks),
    )


def _verdict(signs: Signs, ranks: Ranks | None) -> Worth:
    """By whether an interval excludes a coin (signs) or no order (ranks). Misleading weighs more."""
    claims = [] if signs.share is None else [(signs.share.lower - EVEN, signs.share.upper - EVEN)]
    if ranks is not None:
        claims.append((ranks.lower, ranks.upper))
    if any(upper < 0 for _, upper in claims):
        return "misleads"
    return "predicts" if any(lower > 0 for lower, _ in claims) else "not shown"


def _rank(found: Predictor) -> tuple[int, float, str, str]:
    order: tuple[Worth, ...] = ("misleads", "predicts", "not shown", "too few")
    share = 0.0 if found.signs.share is None else found.signs.share.lower
    return order.index(found.verdict), -share, found.offline, found.online
