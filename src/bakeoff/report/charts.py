"""The three charts of a report, each a pure function from numbers to a picture with a text alternative."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from bakeoff.gates.model import Verdict
from bakeoff.report import svg
from bakeoff.report.words import figure, limit, plain, signed, tick

_WIDE, _LEFT, _RIGHT = 260, 10, 250
_TOP, _MIDDLE, _BOTTOM = 14, 28, 42
_BINS = 10  # on each side of zero


def interval(verdict: Verdict) -> Markup:
    """The estimate and its bounds against what the rule allows; nothing where there is no estimate."""
    if verdict.estimate is None:
        return Markup("")
    low, high = _allowed(verdict)
    zero = [0.0] if verdict.kind != "absolute" else []
    limits = [value for value in (low, high) if value is not None]
    known = [value for value in (verdict.estimate, verdict.lower, verdict.upper, *limits) if value is not None]
    scale = svg.padded([*known, *zero], start=_LEFT, end=_RIGHT)
    body = [
        svg.rect(*_zone(scale, low, high), "allowed"),
        *(svg.line(scale(0.0), _TOP, scale(0.0), _BOTTOM, "zero") for _ in zero),
        *(svg.text(scale(0.0), _TOP - 3, "0", "tick", _anchor(scale(0.0))) for _ in zero),
        *(svg.line(scale(end), _TOP, scale(end), _BOTTOM, "limit") for end in limits),
        *(svg.text(scale(end), _BOTTOM + 12, limit(end), "tick", _anchor(scale(end))) for end in limits),
        *_bar(scale, verdict),
        svg.dot(scale(verdict.estimate), _MIDDLE, 5, f"mark {verdict.outcome.value.lower()}"),
    ]
    return svg.picture(_WIDE, _BOTTOM + 16, _said(verdict), body)


def _allowed(verdict: Verdict) -> tuple[float | None, float | None]:
    if verdict.kind == "absolute":
        return verdict.minimum, verdict.maximum
    return (None if verdict.margin is None else -verdict.margin), None


def _zone(scale: svg.Scale, low: float | None, high: float | None) -> tuple[float, float, float, float]:
    """Where the value may lie; no width where there is no limit."""
    start = _LEFT if low is None else scale(low)
    end = _RIGHT if high is None else scale(high)
    return start, _TOP, 0 if low is None and high is None else end - start, _BOTTOM - _TOP


def _bar(scale: svg.Scale, verdict: Verdict) -> list[Markup]:
    """From bound to bound. Where nothing bounds a difference the end is an arrow; a promise about the candidate alone
    is kept or broken on the rows, so an end without a bound is left out."""
    kind = f"bar {verdict.outcome.value.lower()}"
    middle = scale(verdict.estimate or 0.0)
    marks = []
    for bound, edge, way in ((verdict.lower, _LEFT, 5), (verdict.upper, _RIGHT, -5)):
        if bound is None and verdict.kind == "absolute":
            continue
        place = edge if bound is None else scale(bound)
        marks.append(svg.line(middle, _MIDDLE, place, _MIDDLE, kind))
        head = [(place + way, _MIDDLE - 5), (place, _MIDDLE), (place + way, _MIDDLE + 5)]
        marks.append(svg.path(head, kind) if bound is None else svg.line(place, _MIDDLE - 5, place, _MIDDLE + 5, kind))
    return marks


def _anchor(place: float) -> str:
    """So that a label stays inside the picture."""
    return "start" if place < _LEFT + 20 else "end" if place > _RIGHT - 20 else "middle"


def _said(verdict: Verdict) -> str:
    what = plain(verdict.metric)
    bounds = f"sure to be above {figure(verdict.lower)} and below {figure(verdict.upper)}"
    if verdict.kind == "absolute":
        limits = [f"at least {limit(verdict.minimum)}"] if verdict.minimum is not None else []
        limits += [f"at most {limit(verdict.maximum)}"] if verdict.maximum is not None else []
        return f"{what} of the candidate is {figure(verdict.estimate)}, {bounds}; allowed: {' and '.join(limits)}"
    allowed = "" if verdict.margin is None else f"; it may be worse by less than {limit(verdict.margin)}"
    return f"{what}: advantage of the candidate {signed(verdict.estimate)}, {bounds}{allowed}"


def differences(metric: str, values: Sequence[float], margin: float | None) -> Markup:
    """Units by their mean advantage (left of zero: the candidate is worse for them). Empty without values."""
    if not values:
        return Markup("")
    reach = max([abs(value) for value in values] + ([margin] if margin is not None else [])) or 1.0
    width = reach / _BINS
    bins = Counter(max(-_BINS, min(_BINS, round(value / width))) for value in values)
    x = svg.Scale(low=-reach * 1.08, high=reach * 1.08, start=34, end=350)
    top = max(bins.values())
    y = svg.Scale(low=0, high=top, start=128, end=14)
    span = x(width) - x(0.0)
    bars = [
        svg.rect(round(x(n * width) - span / 2 + 0.5, 1), y(count), span - 1, 128 - y(count), _side(n))
        for n, count in sorted(bins.items())
    ]
    mean = math.fsum(values) / len(values)
    edge = [] if margin is None else [svg.line(x(-margin), 8, x(-margin), 128, "limit")]
    body = [
        svg.line(34, 128, 350, 128, "axis"),
        *bars,
        svg.line(x(0.0), 8, x(0.0), 128, "zero"),
        *edge,
        svg.path([(x(mean) - 5, 4), (x(mean) + 5, 4), (x(mean), 12), (x(mean) - 5, 4)], "mean"),
        svg.text(30, 18, str(top), "tick", "end"),
        svg.text(30, 128, "0", "tick", "end"),
        *(svg.text(x(at), 142, tick(at), "tick") for at in svg.ticks(-reach, reach, 7)),
        svg.text(34, 158, "← candidate worse", "tick", "start"),
        svg.text(350, 158, "candidate better →", "tick", "end"),
    ]
    worse, better = sum(value < 0 for value in values), sum(value > 0 for value in values)
    says = (
        f"{plain(metric)}: of {len(values)} units the candidate is better for {better}, worse for {worse} and the same "
        f"for {len(values) - worse - better}; mean advantage {signed(mean)}"
    )
    return svg.picture(360, 164, says, body)


def _side(number: int) -> str:
    return "worse" if number < 0 else "better" if number > 0 else "same"


def curve(lines: Mapping[str, Sequence[tuple[int, float]]]) -> Markup:
    """Values by step, one line for each name. Empty where no line has two points."""
    drawn = {name: points for name, points in lines.items() if points}
    if not any(len(points) > 1 for points in drawn.values()):
        return Markup("")
    steps = [step for points in drawn.values() for step, _ in points]
    values = [value for points in drawn.values() for _, value in points if math.isfinite(value)]
    x = svg.Scale(low=min(steps), high=max(max(steps), min(steps) + 1), start=44, end=500)
    y = svg.padded([0.0, *values] if min(values) < 0.5 * max(values) else values, start=190, end=28)
    body = [
        *(svg.line(44, y(at), 500, y(at), "grid") for at in svg.ticks(y.low, y.high)),
        *(svg.text(40, y(at) + 4, limit(at), "tick", "end") for at in svg.ticks(y.low, y.high)),
        *(svg.text(x(at), 206, limit(at), "tick") for at in svg.ticks(x.low, x.high, 6)),
        svg.text(272, 222, "step", "tick"),
    ]
    for number, (name, points) in enumerate(sorted(drawn.items())):
        placed = [(x(step), y(value)) for step, value in points if math.isfinite(value)]
        at = 60 + 200 * number
        body += [
            svg.line(at - 16, 10, at, 10, f"curve curve{number}"),
            svg.text(at + 6, 14, plain(name), "tick", "start"),
        ]
        body += [svg.path(placed, f"curve curve{number}")]
        body += [svg.dot(px, py, 2.5, f"point curve{number}") for px, py in placed if len(placed) <= 40]
    ends = "; ".join(f"{plain(name)} from {figure(p[0][1])} to {figure(p[-1][1])}" for name, p in sorted(drawn.items()))
    return svg.picture(510, 228, f"by training step: {ends}", body)
