"""Whether a predicted metric may decide for another one (design rule 6), and the words for both answers."""

import math
from collections.abc import Sequence

import scipy

from bakeoff.gates.findings import CalibrationCheck
from bakeoff.gates.model import NonInferior, Rule
from bakeoff.task import Calibration


def checked(calibrations: Sequence[Calibration], rules: Sequence[Rule], alpha: float) -> tuple[CalibrationCheck, ...]:
    """Each calibration beside what the gate allows. The bias is surely below |bias| + t(units - 1) * se, each side at
    `alpha` (two one-sided tests, Schuirmann 1987)."""
    allowed = {rule.metric: rule.maximum_bias for rule in rules if isinstance(rule, NonInferior)}
    return tuple(
        CalibrationCheck(
            metric=each.metric,
            bias=each.bias,
            bias_se=each.bias_se,
            bound=_bound(each, alpha),
            maximum=allowed.get(each.metric),
            rows=each.rows,
            units=each.units,
        )
        for each in sorted(calibrations, key=lambda each: each.metric)
    )


def _bound(found: Calibration, alpha: float) -> float | None:
    if found.bias_se is None or found.units < 2 or not math.isfinite(found.bias_se):
        return None
    return float(f"{abs(found.bias) + float(scipy.special.stdtrit(found.units - 1, 1 - alpha)) * found.bias_se:.12g}")


def misplaced(rules: Sequence[Rule]) -> str | None:
    """What is wrong with a rule's fallback, in words; None where all are right."""
    known = {rule.metric: rule for rule in rules}
    for rule in rules:
        if not isinstance(rule, NonInferior) or rule.fallback is None:
            continue
        if rule.rows != "neutral":
            return f"{rule.metric} has a fallback but is judged on all rows; only neutral rows can be too few of many"
        other = known.get(rule.fallback)
        if not isinstance(other, NonInferior) or other.rows != "all":
            return f"{rule.metric} falls back to {rule.fallback}, which needs a non_inferior rule over all rows"
        if other.maximum_bias is None:
            return (
                f"{rule.metric} falls back to {rule.fallback}, whose rule has to say how wrong it may be: maximum_bias"
            )
    return None


def why_not(check: CalibrationCheck | None, metric: str) -> str | None:
    """Why predictions of `metric` may not decide; None where they may."""
    if check is None:
        return f"{metric} was never compared with what people did"
    if check.bound is None:
        return f"{metric} was compared with what people did on {check.units} units, which are too few to trust it"
    if not check.holds:
        return (
            f"{metric} is not calibrated: {_said(check)}, so its bias may be {check.bound:.3g}; "
            f"the gate allows {check.maximum:g}"
        )
    return None


def trusted(check: CalibrationCheck) -> str:
    """'predicted minus actual +0.03 (standard error 0.05, 120 rows of 60 units), at most 0.5 allowed'."""
    return f"{_said(check)}, at most {check.maximum:g} allowed"


def _said(check: CalibrationCheck) -> str:
    error = "unknown" if check.bias_se is None else f"{check.bias_se:.3g}"
    return (
        f"predicted minus actual {check.bias:+.3g} (standard error {error}, {check.rows} rows of {check.units} units)"
    )
