"""The weekly meal planner: bakeoff's first task, and the example that others copy.

It imports the border (`bakeoff.task`), `bakeoff.stats`, `bakeoff.fingerprint` and `bakeoff.errors`, nothing
else of the core. `planner.task.PlannerTask` is found by the entry point ``bakeoff.tasks``; the simulated
world `planner.town.open_town` by ``bakeoff.worlds``; `migrations` by ``bakeoff.migrations``.
"""

from pathlib import Path


def migrations() -> Path:
    """The folder of the planner's own SQL migrations, applied in the order of their names."""
    return Path(__file__).parent / "migrations"
