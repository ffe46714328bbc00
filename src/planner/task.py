"""The planner behind the border: `PlannerTask` only ties the modules of this package together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.task import (
    Answer,
    Calibration,
    Completion,
    Episode,
    Example,
    JsonSchema,
    LeftOut,
    Message,
    Metric,
    Preference,
    Request,
    RequestKey,
    StressCase,
    TaskBase,
    Violation,
)
from planner import episodes, prompt, rebuild, rules, scores, segments, stress, tell
from planner.edit_model import EditCalibration, EditModel, calibration, fit, predicted_edits
from planner.event_types import EVENT_TYPES
from planner.fields import FIELDS

_OF_PLANS = "share of plans"


def _share(name: str, meaning: str, *, unit: str = "share") -> Metric:
    return Metric(name=name, unit=unit, direction="higher", low=0.0, high=1.0, meaning=meaning)


def _edits(name: str, meaning: str) -> Metric:
    return Metric(name=name, unit="edits per plan", direction="lower", low=0.0, high=None, meaning=meaning)


class PlannerTask(TaskBase):
    """Five dinners of a week for one household, chosen among the request's options.

    `edit_model`: a frozen model that fills the score ``predicted_edits``; None leaves it undefined. `calibration`: how
    well it did on examples that it was not fitted on, None where nobody looked."""

    name = "planner"
    title = "weekly plan generation (supervised)"
    gate_file: Path | None = Path(__file__).parent / "gate.toml"
    request_version = "1"
    prompt_version = "1"
    metrics = (
        _share("plan_alignment_score", "accepted meals that the plan has, over the larger plan's size"),
        _share("meal_diversity_score", "closeness to the variety of what the household kept"),
        _share("leftovers_utility_score", "use-first pantry items cooked in time"),
        _share("constraint_respect_score", "1 without any hard breach, else 0; unknown is a breach", unit=_OF_PLANS),
        _share("constraint_respect_lenient_score", "the same where unknown is no breach; only shown", unit=_OF_PLANS),
        _share("fill_rate", "dinners that have a dish, out of those that could have one"),
        _edits("predicted_edits", "expected number of shown meals that the household would change"),
    )
    outcome_metrics = (
        _share("accepted", "explicitly accepted within 72 h of the first decision", unit="share of needs"),
        _share("kept_share", "shown meals kept in what was accepted; rejected or unanswered is 0"),
        _edits("edits", "entries changed before acceptance; undefined where the proposal was not accepted"),
        replace(_share("cooked_share", "shown meals cooked within the week; not accepted is 0"), matures_hours=168.0),
        Metric(
            name="shown_variety", unit="kinds per plan", direction="higher", low=1.0, high=None, matures_hours=0.0,
            meaning="effective number of cuisines and of main proteins among the shown meals, their mean",
        ),
    )  # fmt: skip
    event_types = EVENT_TYPES
    fields = FIELDS

    def __init__(self, edit_model: EditModel | None = None, calibration: EditCalibration | None = None) -> None:
        self.edit_model = edit_model
        self.calibration = calibration

    def need(self, request: Request) -> str:
        """One need per household and week: the week's first day."""
        return str(request["week_start"])

    def render(self, request: Request) -> Sequence[Message]:
        return prompt.render(request)

    def answer_schema(self, request: Request) -> JsonSchema:
        return prompt.answer_schema(request)

    def parse(self, request: Request, completion: Completion) -> Answer:
        return prompt.parse(request, completion)

    def violations(self, request: Request, answer: Answer) -> Sequence[Violation]:
        return rules.violations(request, answer)

    def repair(self, request: Request, answer: Answer, violations: Sequence[Violation]) -> Answer:
        return rules.repair(request, answer, violations)

    def examples(self, episodes_: Iterable[Episode]) -> Iterator[Example | LeftOut]:
        return map(episodes.example, episodes_)

    def supervise(self, example: Example) -> Mapping[str, str] | None:
        """Only options about which something is known carry a loss; anchors are code's business, not a choice."""
        known, anchors = example.target["informative"], example.request["anchors"]
        values = {
            key: prompt.YES if known[recipe_id] == "yes" else prompt.NO
            for key, recipe_id in prompt.property_names(example.request).items()
            if recipe_id in known and recipe_id not in anchors
        }
        return values or None

    def labels(self, request: Request, answer: Answer) -> Mapping[str, str]:
        """Every option is in the plan or not; anchors are code's business, not a choice."""
        dishes, anchors = {entry["recipe_id"] for entry in answer["entries"]}, request["anchors"]
        return {
            key: prompt.YES if recipe_id in dishes else prompt.NO
            for key, recipe_id in prompt.property_names(request).items()
            if recipe_id not in anchors
        }

    def preference(self, example: Example) -> Preference | None:
        return episodes.preference(example)

    def edit_cost(self, example: Example) -> float | None:
        """In edits weighted by kind (`edits.COSTS`); None for a plan built unaided, which is no edit of anything."""
        edit_cost: float | None = example.target["edit_cost"]
        return edit_cost

    def requests(self, conn: Any, keys: Sequence[RequestKey]) -> Sequence[Request | None]:
        return rebuild.requests(conn, keys)

    def fitted(self, examples: Sequence[Example], held_out: Sequence[Example] = ()) -> "PlannerTask":
        """With an edit model fitted on `examples` (the train split), frozen, and checked on `held_out`. Where nobody
        was shown a plan there is nothing to fit: predicted edits stay undefined, and no gate passes on them."""
        if not any(_shown_options(example) for example in examples):
            return PlannerTask()
        model = fit(examples)
        checkable = any(_shown_options(example) for example in held_out)
        return PlannerTask(edit_model=model, calibration=calibration(model, held_out) if checkable else None)

    def frozen(self) -> Mapping[str, Any] | None:
        if self.edit_model is None:
            return None
        checked = None if self.calibration is None else self.calibration.as_json()
        return {"edit_model": self.edit_model.as_json(), "calibration": checked}

    def thawed(self, frozen: Mapping[str, Any]) -> "PlannerTask":
        if "edit_model" not in frozen:
            raise UsageError(
                f"frozen fit with {', '.join(sorted(frozen)) or 'nothing'}, expected edit_model and calibration",
                cure="build the dataset again: bakeoff dataset build fits the model anew",
            )
        model, checked = EditModel.from_json(frozen["edit_model"]), frozen.get("calibration")
        return PlannerTask(
            edit_model=model, calibration=None if checked is None else EditCalibration.from_json(checked)
        )

    def kept(self, example: Example) -> Answer:
        accepted_plan: Answer = example.target["accepted_plan"]
        return accepted_plan

    def score(self, example: Example, answer: Answer) -> Mapping[str, float | None]:
        answer = {"entries": [], **answer}  # an answer that could not be read scores as an empty plan
        request, dishes = example.request, scores.recipe_ids(answer)
        accepted = example.target["accepted_meals"]
        model = self.edit_model
        return {
            "plan_alignment_score": scores.alignment(dishes, accepted),
            "meal_diversity_score": scores.diversity(request, dishes, accepted),
            "leftovers_utility_score": scores.leftovers_utility(request, answer),
            "constraint_respect_score": scores.constraint_respect(request, answer),
            "constraint_respect_lenient_score": scores.constraint_respect(request, answer, lenient=True),
            "fill_rate": scores.fill_rate(request, answer),
            "predicted_edits": None if model is None else predicted_edits(model, request, answer),
        }

    def calibrations(self) -> Sequence[Calibration]:
        """Of predicted edits: on plans that people were shown and answered, of households that the edit model was not
        fitted on. What was shown and not answered is not in it."""
        checked = self.calibration
        if checked is None:
            return ()
        bias = Calibration(
            metric="predicted_edits",
            bias=checked.bias,
            bias_se=checked.bias_se,
            rows=checked.plans,
            units=checked.units,
        )
        return (bias,)

    def segments(self, example: Example) -> Mapping[str, str]:
        return segments.segments(example.request)

    def stress(self, requests: Sequence[Request]) -> Iterator[StressCase]:
        return stress.cases(requests)

    def tell(self, request: Request) -> Sequence[tuple[str, str]]:
        return tell.situation(request)

    def tell_answer(self, request: Request, answer: Answer) -> Sequence[str]:
        return tell.menu(request, answer)

    def outcome(self, episode: Episode) -> Mapping[str, float | None]:
        return episodes.outcome(episode)


def _shown_options(example: Example) -> bool:
    """Whether people were shown a dish that was an option."""
    options = {option["id"] for option in example.request["options"]}
    return any(entry["recipe_id"] in options for entry in example.target["proposed_plan"]["entries"])
