"""When a variant had traffic, as imported rows may claim."""

from datetime import datetime

import rows
from bakeoff.events.incoming import Served
from bakeoff.experiments.contexts import stretches
from bakeoff.experiments.model import Experiment, Phase


def experiment(ended: datetime | None = None) -> Experiment:
    return Experiment(experiment_id="x", policy_id="p", kind="default", status="running", ended_at=ended)


def phases(*arms: tuple[float, str, str | None]) -> list[Phase]:
    return [
        Phase(
            experiment_id="x", number=n, treated_bp=0, began_at=rows.at(day), control_variant_id=control,
            treated_variant_id=treated,
        )
        for n, (day, control, treated) in enumerate(arms, start=1)
    ]  # fmt: skip


def test_a_variant_serves_from_its_phase_until_another_takes_its_place() -> None:
    told = phases((1, "a", None), (3, "b", None), (5, "b", "e"), (7, "a", None))
    assert stretches(experiment(), "a", told) == ((rows.at(1), rows.at(3)), (rows.at(7), None))
    assert stretches(experiment(), "b", told) == ((rows.at(3), rows.at(7)),)
    assert stretches(experiment(), "e", told) == ((rows.at(5), rows.at(7)),)
    assert stretches(experiment(), "nobody", told) == ()


def test_the_end_of_a_test_ends_its_variants() -> None:
    assert stretches(experiment(rows.at(4)), "a", phases((1, "a", None))) == ((rows.at(1), rows.at(4)),)


def test_a_moment_is_within_from_its_beginning_to_before_its_end() -> None:
    served = Served(
        policy_id="p", version="p/1", experiment_id="x", variant_id="a", policy_version_id="v",
        stretches=((rows.at(1), rows.at(3)), (rows.at(7), None)),
    )  # fmt: skip
    assert [served.at(rows.at(day)) for day in (0, 1, 2.9, 3, 6, 7, 99)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert served.began == rows.at(1)
