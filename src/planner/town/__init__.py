"""SIMULATION: a town of invented households that drives the loop for demos and tests.

Nothing here is about real people, and no gain measured here is a gain for users. Tastes and noise are hidden:
they reach no request and no event; requests say only what such a household would have told an application
(stated likes are partial and noisy). Every payload of the town carries ``"synthetic": true``.
"""

from datetime import date

from bakeoff.world import World
from planner.town.world import Town


def open_town(seed: int, units: int, weeks: int, ends_on: date) -> World:
    """`units` households over `weeks` weeks, the last of which ends on `ends_on`."""
    return Town(seed=seed, units=units, weeks=weeks, ends_on=ends_on)
