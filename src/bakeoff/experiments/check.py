"""check: does a spec ask for what the task measures, in the sense in which it measures it?"""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from bakeoff.errors import UsageError
from bakeoff.experiments.model import Counterweight, ExperimentSpec, Guardrail
from bakeoff.task import Metric


def check(spec: ExperimentSpec, metrics: Sequence[Metric], *, source: str = "experiment spec") -> None:
    """Raises UsageError that names each wrong key and what to type. `metrics`: what the task measures online."""
    wrong = list(problems(spec, metrics))
    if wrong:
        listed = ", ".join(f"{metric.name} ({metric.direction} is better)" for metric in metrics)
        raise UsageError(f"{source}: {'; '.join(wrong)}", cure=f"measured are: {listed}")


def problems(spec: ExperimentSpec, metrics: Sequence[Metric]) -> Iterator[str]:
    """In words, each with its key."""
    known = {metric.name: metric for metric in metrics}
    for key, name in _named(spec):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            yield f"{key} = {name!r} is not measured{hint}"
    yield from _primary(spec, known.get(spec.primary))
    for key, limit in _limits(spec):
        metric = known.get(limit.metric)
        if metric is not None:
            yield from _limit(key, limit, metric)
            if isinstance(limit, Guardrail) and limit.kind == "ramp" and metric.matures_hours > spec.dwell_hours:
                yield (
                    f"{key}.kind = 'ramp', but {metric.name} is known {metric.matures_hours:g} h after a decision and "
                    f"dwell_hours is {spec.dwell_hours:g}: say kind = 'ship', or dwell_hours = {metric.matures_hours:g}"
                )


def _named(spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    """Key -> the metric that it names."""
    yield "primary", spec.primary
    if spec.cheaper is not None:
        yield "cheaper", spec.cheaper
    lists: dict[str, Iterable[object]] = {
        "guardrails": spec.guardrails,
        "budgets": spec.budgets,
        "thresholds": spec.thresholds,
        "counterweights": spec.counterweights,
    }
    for name, found in lists.items():
        for place, each in enumerate(found):
            yield f"{name}.{place}.metric", str(getattr(each, "metric", ""))


def _limits(spec: ExperimentSpec) -> Iterator[tuple[str, Guardrail | Counterweight]]:
    for place, guardrail in enumerate(spec.guardrails):
        yield f"guardrails.{place}", guardrail
    for place, counterweight in enumerate(spec.counterweights):
        yield f"counterweights.{place}", counterweight


def _primary(spec: ExperimentSpec, metric: Metric | None) -> Iterator[str]:
    if metric is None:
        return
    if spec.hypothesis != "thresholds" and metric.direction != spec.primary_direction:
        yield f"primary_direction = {spec.primary_direction!r}, but of {metric.name} {metric.direction} is better"
    if spec.primary_margin is not None and _is_whole_range(spec.primary_margin, metric):
        yield f"primary_margin = {spec.primary_margin:g} is the whole range of {metric.name}"


def _limit(key: str, limit: Guardrail | Counterweight, metric: Metric) -> Iterator[str]:
    if metric.direction != limit.direction:
        yield f"{key}.direction = {limit.direction!r}, but of {metric.name} {metric.direction} is better"
    if _is_whole_range(limit.margin, metric):
        yield f"{key}.margin = {limit.margin:g} is the whole range of {metric.name}"


def _is_whole_range(margin: float, metric: Metric) -> bool:
    return metric.low is not None and metric.high is not None and margin >= metric.high - metric.low
