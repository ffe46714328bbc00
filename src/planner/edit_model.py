"""Will this shown meal be edited? A logistic regression, frozen as JSON, that compares plans of any policy.

Plans accepted after editing favour whoever proposed them; a model of edits, fitted on the train split and
checked on held-out weeks, can judge a plan that nobody was shown. Ridge-penalised maximum likelihood by
Newton's method (IRLS; Bishop 2006, 4.3.3), so the fit is deterministic.

People change a dish because another one would be better. So a first regression says how likely each option is to be
edited by its own features, and a second one sees, besides the dish, the mean of that score over the options that the
plan left out: one more coefficient. A coefficient for each of their features would fit a little better and see less of
what a better policy gains. Without the others the model understates how far two policies are apart: five simulated
towns, random plans and the heuristic's, about .65 edits apart; the dish alone says .45, with the others it is .62.

What it cannot see: tastes that no request tells. A policy that knew them would be better than it predicts. And weeks
in which nothing was accepted, which give no row.
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
OF_DISH = (
    "liked_cuisine", "liked_protein", "disliked", "uses", "fits", "dear", "rating", "had_last_week", "habit",
)  # fmt: skip
OWN = (*OF_DISH, "asked_for", "over", "exploratory")
LEFT_OUT = "left_out_"
COLUMNS = (*OWN, *(f"{LEFT_OUT}{name}" for name in OF_DISH))


@dataclass(frozen=True, kw_only=True, slots=True)
class EditModel:
    """Frozen parameters."""

    bias: float
    weights: tuple[float, ...]
    slots: int  # shown meals that it was fitted on
    base_rate: float  # share of them that were edited
    columns: tuple[str, ...] = COLUMNS  # what the weights belong to; older models know fewer

    def as_json(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self), "columns": list(self.columns), "weights": list(self.weights)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "EditModel":
        """Raises UsageError where the parameters belong to another version or to features that are not known."""
        columns = tuple(body.get("columns", ()))
        if body.get("version") != VERSION or not columns or not set(columns) <= set(COLUMNS):
            raise UsageError(
                f"this edit model has version {body.get('version')} and {len(columns)} features; "
                f"this planner reads version {VERSION} with {', '.join(COLUMNS)}",
                cure="build the dataset again: bakeoff dataset build fits the model anew",
            )
        return cls(
            bias=body["bias"],
            weights=tuple(body["weights"]),
            slots=body["slots"],
            base_rate=body["base_rate"],
            columns=columns,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EditCalibration:
    """How well predicted edits agree with actual ones. Compare with the base rate: it has a perfect ECE.

    The standard errors are those of the frozen model: how far its bias on other households may lie from the one seen
    here. That the bias is not zero is to be expected, since the model was fitted on finitely many rows too: ask
    whether it may be larger than what matters (|bias| plus some standard errors against a margin), not whether it
    differs from zero. Over many fits bias / bias_se varies by sqrt(1 + held-out / train rows), not by 1."""

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
    def from_json(cls, body: Mapping[str, Any]) -> "EditCalibration":
        return cls(**body)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """One row per shown meal that is an option."""

    rows: Floats  # (n, d), in the order of the columns asked for
    edited: Floats  # (n,), 1 where the dish is not in what people kept
    plans: NDArray[np.intp]  # (n,), number of the plan that it was shown in, from 0 and without gaps
    units: tuple[str, ...]  # per plan


def fit(examples: Iterable[Example], *, ridge: float = 1.0) -> EditModel:
    """Fits on the shown plans of `examples`. Raises UsageError without any shown meal."""
    table = _table(examples, COLUMNS)
    if not len(table.rows):
        raise UsageError("no shown meals to learn edits from", cure="build a dataset with proposed plans")
    own, left_out = table.rows[:, : len(OWN)], table.rows[:, len(OWN) :]
    first = logistic(own, table.edited, ridge=ridge)[1 : 1 + len(OF_DISH)]
    second = logistic(np.column_stack([own, left_out @ first]), table.edited, ridge=ridge)
    # rounded, so that the frozen parameters do not depend on the order in which a BLAS adds up
    bias, *weights = (round(float(w), 9) for w in (*second[:-1], *(second[-1] * first)))
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
    """P(edited) per entry, of those that are options first. A dish that is no option cannot stay: 1."""
    rows = _rows(request, entries, model.columns)
    logits = (model.bias + sum(w * x for w, x in zip(model.weights, row, strict=True)) for row in rows)
    return [1.0 / (1.0 + math.exp(-z)) for z in logits] + [1.0] * (len(entries) - len(rows))


def predicted_edits(model: EditModel, request: Request, answer: Answer) -> float:
    """Expected number of shown meals that the household would change, in edits per plan; lower is better. The sum of
    P(edited) over the meals, and one for each open dinner without any: 0 up to the number of dinners, where no evening
    has two dishes.

    Probabilities .1, .2, .2, .5, .7: 1.7 edits. With the last two dinners left empty .1 + .2 + .2 + 2 = 2.5. Nothing
    planned for five dinners: 5. No dinner to plan: 0. A dish that is no option counts as one edit. It says nothing
    about rules: a plan that serves a favourite five times is judged by `rules`, not here.

    Moves and other servings are no edits in this sense; `edits.cost` weighs those too."""
    entries = answer["entries"]
    empty = {slot["day"] for slot in request["slots"]} - {entry["day"] for entry in entries}
    return sum(slot_probabilities(model, request, entries)) + len(empty)


def calibration(model: EditModel, examples: Iterable[Example], *, bins: int = 10) -> EditCalibration:
    """Of `model` on examples that it was not fitted on. Raises UsageError without any shown meal."""
    table = _table(examples, model.columns)
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
) -> EditCalibration:
    """From predictions `p`, labels and plan numbers per slot, each (n,), and the unit of each plan. `edges` bound
    the bins of the ECE (Naeini et al. 2015). Raises UsageError for no slot."""
    if not len(p):
        raise UsageError("no shown meals to check predicted edits on", cure="use a split with proposed plans")
    gaps: Floats = np.bincount(plans, p - edited, minlength=len(units)).astype(np.float64)
    which = np.clip(np.digitize(p, edges) - 1, 0, len(edges) - 2)
    clipped = np.clip(p, 1e-12, 1.0 - 1e-12)
    return EditCalibration(
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


def _table(examples: Iterable[Example], columns: Sequence[str]) -> _Table:
    """Plans without a shown option are left out."""
    rows: list[tuple[float, ...]] = []
    edited: list[float] = []
    plans: list[int] = []
    units: list[str] = []
    for example in examples:
        shown = example.target["proposed_plan"]["entries"]
        accepted, options = set(example.target["accepted_meals"]), _options(example.request)
        of_plan = _rows(example.request, shown, columns)
        rows += of_plan
        edited += [float(e["recipe_id"] not in accepted) for e in shown if e["recipe_id"] in options]
        plans += [len(units)] * len(of_plan)
        units += [example.unit_id] * bool(of_plan)
    return _Table(
        rows=np.array(rows, dtype=float).reshape(len(rows), len(columns)),
        edited=np.array(edited),
        plans=np.array(plans, dtype=np.intp),
        units=tuple(units),
    )


def _options(request: Request) -> dict[str, Mapping[str, Any]]:
    return {option["id"]: option for option in request["options"]}


def _rows(request: Request, entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[tuple[float, ...]]:
    """One row for each entry that is an option, in their order."""
    options = _options(request)
    planned = {entry["recipe_id"] for entry in entries}
    of_dish = {dish: _of_dish(request, option) for dish, option in options.items()}
    left_out = [row for dish, row in of_dish.items() if dish not in planned]
    around = {
        "exploratory": float(request["mode"] == "exploratory"),
        **{f"{LEFT_OUT}{name}": sum(row[name] for row in left_out) / max(len(left_out), 1) for name in OF_DISH},
    }
    rows = []
    for entry in entries:
        dish = entry["recipe_id"]
        if dish in options:
            known = of_dish[dish] | around | {"over": _over(request, options[dish], entry["day"])}
            rows.append(tuple(known[name] for name in columns))
    return rows


def _of_dish(request: Request, option: Mapping[str, Any]) -> dict[str, float]:
    """Features of an option that do not depend on the day."""
    known = features(request, option)
    return {
        "liked_cuisine": float(known.liked_cuisine),
        "liked_protein": float(known.liked_protein),
        "disliked": float(known.disliked),
        "uses": float(min(known.uses, 2)),
        "fits": known.fits,
        "dear": float(known.dear),
        "rating": known.rating - 3.5,
        "had_last_week": float(known.had_last_week),
        "habit": known.habit,
        "asked_for": float(known.asked_for),
    }


def _over(request: Request, option: Mapping[str, Any], day: str) -> float:
    """Half hours over the day's ceiling."""
    slot = next((slot for slot in request["slots"] if slot["day"] == day), None)
    return max(0, option["minutes"] - slot["max_minutes"]) / 30 if slot else 0.0
