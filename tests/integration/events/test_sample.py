"""Some episodes of the log: whole needs, the same ones every time, half of them accepted where there are any."""

import stages
import toy
from bakeoff import lifecycle
from bakeoff.events.sample import some_episodes
from bakeoff.lifecycle import Deps
from bakeoff.task import Episode, Role


def drawn(deps: Deps, rows: int) -> list[Episode]:
    with deps.db.transaction() as conn:
        return some_episodes(conn, "toy", rows)


def accepted(episode: Episode) -> bool:
    return any(event.role is Role.ACCEPT for event in episode.outcomes)


def test_half_of_a_sample_was_accepted_where_few_are(deps: Deps, clock: stages.Clock) -> None:
    """'contrary' offers the wrong drink nine days of ten: a tenth is accepted by mood alone."""
    assert drawn(deps, 10) == []
    stages.open_shop(deps, "contrary")
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    everything = drawn(deps, 1000)
    assert len(everything) == 120
    share = sum(map(accepted, everything)) / 120
    assert share < 0.2
    some = drawn(deps, 12)
    assert len(some) == 12
    assert sum(map(accepted, some)) >= 6 or sum(map(accepted, everything)) < 6
    assert drawn(deps, 12) == some
    assert {e.decision.decision_id for e in drawn(deps, 6)} <= {e.decision.decision_id for e in drawn(deps, 120)}
    known = {episode.decision.decision_id: episode for episode in everything}
    assert all(known[episode.decision.decision_id] == episode for episode in some)


def test_a_need_comes_whole(deps: Deps, clock: stages.Clock) -> None:
    """Two decisions of one need are one row, whichever of them was drawn."""
    stages.open_shop(deps)
    for key in ("first", "second"):
        lifecycle.decide(
            deps, toy.ToyTask(), stages.POLICY, key=key, unit_id="u", request={"likes": "tea", "day": 1}, at=clock.now
        )
        clock.turn(hours=1)
    (episode,) = drawn(deps, 1)
    assert len(episode.decisions) == 2
    assert episode.decisions[0].occurred_at < episode.decisions[1].occurred_at
