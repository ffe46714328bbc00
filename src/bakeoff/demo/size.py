"""How much of the world a demo lives through."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Numbers of one demo. A decision of the language model costs a quarter to half a second."""

    name: Literal["small", "normal", "full"]
    pilot_units: int  # who meets the feature while the log fills
    pilot_weeks: int
    explorer_bp: int  # share of explorer decisions in that time, in basis points
    train_rows: int | None  # newest rows that are learnt from; None: all
    replay_rows: int | None  # held-out rows, neutral ones first; None: all
    units: int  # the whole world, once the feature is launched
    test_weeks: int  # most weeks that the experiment may run

    @property
    def weeks(self) -> int:
        return self.pilot_weeks + self.test_weeks


SIZES = {
    "small": Size(
        name="small", pilot_units=64, pilot_weeks=2, explorer_bp=5000, train_rows=32, replay_rows=12, units=160,
        test_weeks=1,
    ),
    "normal": Size(
        name="normal", pilot_units=200, pilot_weeks=3, explorer_bp=5000, train_rows=200, replay_rows=80, units=1300,
        test_weeks=2,
    ),
    "full": Size(
        name="full", pilot_units=500, pilot_weeks=4, explorer_bp=3000, train_rows=None, replay_rows=None, units=3000,
        test_weeks=8,
    ),
}  # fmt: skip


def size_for(name: str, dtype: str) -> Size:
    """The size called `name` on a machine that computes in `dtype`. In float32, which is slower, a normal demo
    watches its experiment for one week and not for two, so that it ends within about a quarter of an hour."""
    size = SIZES[name]
    return replace(size, test_weeks=1) if (name, dtype) == ("normal", "float32") else size
