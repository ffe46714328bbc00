"""The ten worst and the ten best answers, side by side with the incumbent's and with what people kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.gates.model import SCORE
from bakeoff.replay.model import ReplayRow
from bakeoff.report import scores
from bakeoff.report.model import Evidence, Pair
from bakeoff.report.parts import Cell
from bakeoff.report.words import figure, plain, signed

SHOWN = 10
_EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An answer as a reader sees it."""

    title: str
    lines: tuple[str, ...]
    wrong: tuple[str, ...]  # hard rules that it broke, in words


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One held-out request with three answers."""

    name: str
    trace: str  # whose it is, and what to type to follow it
    when: str
    kind: str  # where the logged proposal came from
    advantage: str
    situation: tuple[tuple[str, str], ...]  # label, text
    answers: tuple[Told, ...]  # candidate, incumbent, what was kept
    values: tuple[tuple[Cell, ...], ...]  # metric, candidate, incumbent, advantage


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Examples at both ends."""

    metric: str  # that they are ranked by, in words
    among: str  # which rows, in words
    worst: tuple[Example, ...]
    best: tuple[Example, ...]


def choose(evidence: Evidence) -> Chosen:
    """Ranked by the combined score, or by the first metric that is compared, among the rows that it was judged on
    where these are enough. An answer that breaks a hard rule where the incumbent's does not comes first among the
    worst. An example is worst or best only if it is worse or better."""
    metric, pairs = _ranked(evidence)
    found = scores.advantages(evidence, metric, pairs) if metric else []
    ranked = sorted(found, key=lambda item: (not _is_new_breach(item[0]), item[1], item[0].example.example_id))
    worst = [item for item in ranked if _is_new_breach(item[0]) or item[1] < -_EPSILON][:SHOWN]
    better = [item for item in ranked if not _is_new_breach(item[0]) and item[1] > _EPSILON]
    best = sorted(better, key=lambda item: (-item[1], item[0].example.example_id))[:SHOWN]
    kind = "rows" if len(pairs) == len(evidence.pairs) else "neutral rows"
    return Chosen(
        metric=plain(metric or "nothing"),
        among=f"{len(found)} {kind}",
        worst=tuple(_example(evidence, pair, advantage) for pair, advantage in worst),
        best=tuple(_example(evidence, pair, advantage) for pair, advantage in best),
    )


def _ranked(evidence: Evidence) -> tuple[str | None, Sequence[Pair]]:
    """What to rank by, and which pairs."""
    verdicts = evidence.stored.report.all_verdicts()
    gated = {verdict.metric: verdict for verdict in verdicts if verdict.kind == "non_inferior"}
    wanted = [SCORE, *gated, *(verdict.metric for verdict in verdicts if verdict.kind == "shown")]
    for name in wanted:
        if scores.advantages(evidence, name, evidence.pairs):
            judged = scores.judged_on(evidence, gated[name]) if name in gated else list(evidence.pairs)
            return name, judged if len(judged) >= 2 * SHOWN else evidence.pairs
    return None, evidence.pairs


def _is_new_breach(pair: Pair) -> bool:
    return bool(pair.candidate.violations) and not pair.incumbent.violations


def _example(evidence: Evidence, pair: Pair, advantage: float) -> Example:
    request, example = pair.example.request, pair.example
    kept = evidence.task.tell_answer(request, evidence.task.kept(example))
    return Example(
        name=f"unit {example.unit_id[:8]}",
        trace=f"unit {example.unit_id}; bakeoff trace {example.example_id}",
        when=f"{example.occurred_at:%Y-%m-%d}",
        kind="neutral: the plan in the log came from neither version"
        if pair.neutral
        else "anchored: people started from a proposal of one of the two versions",
        advantage=signed(advantage),
        situation=tuple(evidence.task.tell(request)),
        answers=(
            _told(evidence, pair, f"Candidate {evidence.candidate.version.name}", pair.candidate),
            _told(evidence, pair, f"Incumbent {evidence.incumbent.version.name}", pair.incumbent),
            Told(title="What people kept", lines=tuple(kept), wrong=()),
        ),
        values=_values(evidence, pair),
    )


def _told(evidence: Evidence, pair: Pair, title: str, row: ReplayRow) -> Told:
    """The answer as the policy gave it, before any repair."""
    lines: Sequence[str] = ("nothing that could be read", row.raw_answer[:400])
    if row.parsed_answer is not None:
        lines = evidence.task.tell_answer(pair.example.request, row.parsed_answer) or ("an empty answer",)
    wrong = [f"{plain(v.rule)}{f' ({v.where})' if v.where else ''}: {v.detail}" for v in row.violations]
    return Told(title=title, lines=tuple(line for line in lines if line), wrong=tuple(wrong))


def _values(evidence: Evidence, pair: Pair) -> tuple[tuple[Cell, ...], ...]:
    known = scores.metrics(evidence.task.metrics)
    ours, theirs = pair.values
    rows = []
    for name in ours:
        a, b = ours[name], theirs.get(name)
        if name == "latency_s" or (a is None and b is None):
            continue
        sign = -1.0 if name in known and known[name].direction == "lower" else 1.0
        rows.append((plain(name), figure(a), figure(b), signed(None if a is None or b is None else sign * (a - b))))
    return tuple(rows)
