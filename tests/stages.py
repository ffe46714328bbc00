"""Stage directions for tests of a whole life: wired ports on a real PostgreSQL and MLflow, a clock to turn, and a
crowd of shoppers for the toy task."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import toy
from bakeoff import lifecycle
from bakeoff.experiments.model import ExperimentSpec, Guardrail
from bakeoff.gates.model import Absolute, Gate, NonInferior
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion

START = datetime(2025, 1, 6, 8, tzinfo=UTC)
POLICY = "toy_policy"


class Silent:
    """Progress that nobody watches."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: None


class Clock:
    """Time stands still until the test turns it."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now

    @contextmanager
    def later(self, **by: float) -> Iterator[datetime]:
        """What happens a while later: the clock says so too, and goes back for the next shopper."""
        before = self.now
        yield self.turn(**by)
        self.now = before


def python_version(deps: Deps, function: str) -> PolicyVersion:
    spec = PolicySpec(task="toy", engine="python", prompt_version="1", function=f"toy:{function}", function_version="1")
    return lifecycle.create_policy(deps, POLICY, spec)


def open_shop(deps: Deps, incumbent: str = "stubborn") -> PolicyVersion:
    """An adopted incumbent serves everyone; 'good' explores nothing, 'stubborn' is the last resort."""
    version = python_version(deps, incumbent)
    lifecycle.adopt(
        deps, version, signed_by="Ada", reason="it serves already", last_resort=python_version(deps, "stubborn")
    )
    return version


def draw(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but its parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


def live(deps: Deps, clock: Clock, *, day: int, shoppers: int, only: frozenset[str] | None = None) -> None:
    """One day: each shopper is offered a drink and accepts it if it is the one they like, nearly always."""
    task = toy.ToyTask()
    for n in range(shoppers):
        unit = f"shopper-{n:05d}"
        if only is not None and unit not in only:
            continue
        request = {"likes": toy.DRINKS[draw("likes", unit, day) < 0.5], "day": day}
        served = lifecycle.decide(deps, task, POLICY, key=f"{unit}/{day}", unit_id=unit, request=request, at=clock.now)
        liked = served.answer["drink"] == request["likes"]
        if draw("mood", unit, day) < (0.95 if liked else 0.05):
            with clock.later(hours=1) as at:
                lifecycle.log_outcome(
                    deps,
                    task,
                    event_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{unit}/{day}/accepted")),
                    event_type="accepted",
                    unit_id=unit,
                    context=served.context,
                    at=at,
                    payload={"accepted_by": "user", "drink": request["likes"]},
                )


GATE = Gate(
    name="toy",
    rules=(
        NonInferior(metric="right", margin=0.05),
        Absolute(metric="known_drink", column="known_drink", minimum=1.0),
    ),
    slices_per_gate=4,  # a shop is small, and what tells the two apart is little
)
TEST = ExperimentSpec(
    hypothesis="superiority",
    primary="accepted",
    guardrails=(Guardrail(metric="intervention", margin=0.02, direction="lower"),),
    stages=(1000, 2500),
    dwell_hours=24,
    last_dwell_hours=24,
    minimum_units=100,
    planned_units=400,
    horizon_weeks=8,
)


def lenient(gate: Gate = GATE) -> Gate:
    """A gate that lets a worse policy pass, so that the online part can be tested on it."""
    return replace(gate, name="lenient", rules=(Absolute(metric="known_drink", column="known_drink", minimum=1.0),))
