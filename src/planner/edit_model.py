"""Will this shown meal be edited? A logistic regression, frozen as JSON, that compares plans of any policy.

Plans accepted after editing favour whoever proposed them; a model of edits, fitted on the train split and
checked on held-out weeks, can judge a plan that nobody was shown. Ridge-penalised maximum likelihood by
Newton's method (IRLS; Bishop 2006, 4.3.3), so the fit is deterministic.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.errors import UsageError
from bakeoff.stats.ratio import ratio
from bakeoff.task import Answer, Example, Request
from planner.features import features

Floats = NDArray[np.float64]

VERSION = 1  # changes when a column changes its meaning, or what counts as edited
COLUMNS = (
    "liked_cuisine", "liked_protein", "disliked", "uses", "fits", "dear", "rating", "had_last_week", "habit",
    "asked_for", "over", "exploratory",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class EditModel:
    """Frozen parameters, in the order of COLUMNS."""

    bias: float
    weights: tuple[float, ...]
    slots: int  # shown meals that it was fitted on
    base_rate: float  # share of them that were edited

    def as_json(self) -> dict[str, Any]:
        return {"version": VERSION, "columns": list(COLUMNS), **asdict(self), "weights": list(self.weights)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "EditModel":
        """Raises UsageError where the parameters belong to another version or to other features."""
        if body.get("version") != VERSION or tuple(body.get("columns", ())) != COLUMNS:
            raise UsageError(
                f"this edit model has version {body.get('version')} and {len(body.get('columns', ()))} features; "
                f"this planner reads version {VERSION} with {', '.join(COLUMNS)}",
                cure="build the dataset again: bakeoff dataset build fits the model anew",
            )
        return cls(
            bias=body["bias"],
            weights=tuple(body["weights"]),
            slots=body["slots"],
            base_rate=body["base_rate"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How well predicted edits agree with actual ones. Compare with the base rate: it has a perfect ECE."""

    slots: int
    plans: int
    brier: float  # mean squared error over slots, 0 to 1
    base_brier: float  # of always predicting the model's base rate
    log_loss: float  # nats per slot
    ece: float  # expected calibration error over the bins, 0 to 1
    bias: float  # predicted minus actual edits per plan
    bias_se: float | None  # its standard error, clustered by unit; None below two units
    mae: float  # mean absolute error in edits per plan
    mae_se: float | None  # its standard error, clustered by unit; None below two units
    units: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Calibration":
        return cls(**body)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """One row per shown meal that is an option."""

    rows: Floats  # (n, d), in the order of COLUMNS
    edited: Floats  # (n,), 1 where the dish is not in what people kept
    plans: NDArray[np.intp]  # (n,), number of the plan that it was shown in, from 0 and without gaps
    units: tuple[str, ...]  # per plan


def fit(examples: Iterable[Example], *, ridge: float = 1.0) -> EditModel:
    """Fits on the shown plans of `examples`. Raises UsageError without any shown meal."""
    table = _table(examples)
    if not len(table.rows):
        raise UsageError("no shown meals to learn edits from", cure="build a dataset with proposed plans")
    # rounded, so that the frozen parameters do not depend on the order in which a BLAS adds up
    bias, *weights = (round(float(w), 9) for w in logistic(table.rows, table.edited, ridge=ridge))
    return EditModel(
        bias=bias,
        weights=tuple(weights),
        slots=len(table.rows),
        base_rate=float(table.edited.mean()),
    )


def logistic(rows: Floats, labels: Floats, *, ridge: float, steps: int = 25) -> Floats:
    """Coefficients, intercept first and not penalised. `rows` (n, d), `labels` (n,) in {0, 1}; returns (d + 1,)."""
    design = np.column_stack([np.ones(len(rows)), rows])
    penalty = np.diag([1e-9, *[ridge] * rows.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1.0 / (1.0 + np.exp(-(design @ weights)))
        gradient = design.T @ (labels - p) - penalty @ weights
        step = np.linalg.solve(design.T @ (design * (p * (1.0 - p))[:, None]) + penalty, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def slot_probabilities(model: EditModel, request: Request, entries: Sequence[Mapping[str, Any]]) -> list[float]:
    """P(edited) per entry. A dish that is no option cannot stay: 1."""
    options = {option["id"]: option for option in request["options"]}
    known = [entry for entry in entries if entry["recipe_id"] in options]
    rows = [_row(request, options[entry["recipe_id"]], entry["day"]) for entry in known]
    logits = (model.bias + sum(w * x for w, x in zip(model.weights, row, strict=True)) for row in rows)
    return [1.0 / (1.0 + math.exp(-z)) for z in logits] + [1.0] * (len(entries) - len(known))


def predicted_edits(model: EditModel, request: Request, answer: Answer) -> float:
    """Expected number of edits: the sum over shown meals, and one for each dinner left empty."""
    entries = answer["entries"]
    empty = max(0, len(request["slots"]) - len(entries))
    return sum(slot_probabilities(model, request, entries)) + empty


def calibration(model: EditModel, examples: Iterable[Example], *, bins: int = 10) -> Calibration:
    """Of `model` on examples that it was not fitted on. Raises UsageError without any shown meal."""
    table = _table(examples)
    p = 1.0 / (1.0 + np.exp(-(model.bias + table.rows @ np.array(model.weights))))
    edges = np.linspace(0.0, 1.0, bins + 1)
    return calibrate(p, table.edited, table.plans, table.units, base_rate=model.base_rate, edges=edges)


def calibrate(
    p: Floats,
    edited: Floats,
    plans: NDArray[np.intp],
    units: Sequence[str],
    *,
    base_rate: float,
    edges: Floats,
) -> Calibration:
    """From predictions `p`, labels and plan numbers per slot, each (n,), and the unit of each plan. `edges` bound
    the bins of the ECE (Naeini et al. 2015). Raises UsageError for no slot."""
    if not len(p):
        raise UsageError("no shown meals to check predicted edits on", cure="use a split with proposed plans")
    gaps: Floats = np.bincount(plans, p - edited, minlength=len(units)).astype(np.float64)
    which = np.clip(np.digitize(p, edges) - 1, 0, len(edges) - 2)
    clipped = np.clip(p, 1e-12, 1.0 - 1e-12)
    return Calibration(
        slots=len(p),
        plans=len(units),
        brier=_settled(((p - edited) ** 2).mean()),
        base_brier=_settled(((base_rate - edited) ** 2).mean()),
        log_loss=_settled(-(edited * np.log(clipped) + (1 - edited) * np.log(1 - clipped)).mean()),
        ece=_settled(np.abs(np.bincount(which, p - edited)).sum() / len(p)),
        bias=_settled(gaps.mean()),
        bias_se=_clustered(gaps, units),
        mae=_settled(np.abs(gaps).mean()),
        mae_se=_clustered(np.abs(gaps), units),
        units=len(set(units)),
    )


def _clustered(values: Floats, units: Sequence[str]) -> float | None:
    """Standard error of the mean of `values` (one per plan), where plans of a unit go together."""
    number = {unit: index for index, unit in enumerate(dict.fromkeys(units))}
    which = np.array([number[unit] for unit in units], dtype=np.intp)
    se = ratio(np.bincount(which, values), np.bincount(which)).se
    return _settled(se) if math.isfinite(se) else None


def _settled(value: float) -> float:
    """Rounded like the frozen parameters: the last digits depend on the order in which a BLAS adds up."""
    return round(float(value), 9)


def _table(examples: Iterable[Example]) -> _Table:
    """Plans without a shown option are left out."""
    rows: list[tuple[float, ...]] = []
    edited: list[float] = []
    plans: list[int] = []
    units: list[str] = []
    for example in examples:
        options = {option["id"]: option for option in example.request["options"]}
        accepted = set(example.target["accepted_meals"])
        shown = [entry for entry in example.target["proposed_plan"]["entries"] if entry["recipe_id"] in options]
        rows += [_row(example.request, options[entry["recipe_id"]], entry["day"]) for entry in shown]
        edited += [float(entry["recipe_id"] not in accepted) for entry in shown]
        plans += [len(units)] * len(shown)
        units += [example.unit_id] * bool(shown)
    return _Table(
        rows=np.array(rows, dtype=float).reshape(len(rows), len(COLUMNS)),
        edited=np.array(edited),
        plans=np.array(plans, dtype=np.intp),
        units=tuple(units),
    )


def _row(request: Request, option: Mapping[str, Any], day: str) -> tuple[float, ...]:
    known = features(request, option)
    slot = next((slot for slot in request["slots"] if slot["day"] == day), None)
    over = max(0, option["minutes"] - slot["max_minutes"]) / 30 if slot else 0.0
    columns = {
        "liked_cuisine": known.liked_cuisine,
        "liked_protein": known.liked_protein,
        "disliked": known.disliked,
        "uses": min(known.uses, 2),
        "fits": known.fits,
        "dear": known.dear,
        "rating": known.rating - 3.5,
        "had_last_week": known.had_last_week,
        "habit": known.habit,
        "asked_for": known.asked_for,
        "over": over,
        "exploratory": request["mode"] == "exploratory",
    }
    return tuple(float(columns[name]) for name in COLUMNS)
