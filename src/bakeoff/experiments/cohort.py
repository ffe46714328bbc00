"""What the units of a test came to by one moment: a row per exposed unit, as vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from bakeoff.experiments.model import ARMS, Arm

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One metric, over units (n,). Only needs that have matured and lie within the unit's horizon are in it."""

    sums: Floats  # of the needs that have a value
    needs: Ints  # matured needs with a value
    due: Ints  # matured needs, with or without one
    sums_before: Floats | None = None  # the same metric in the weeks before the unit met the test; None: not asked for
    needs_before: Ints | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Exposed units (n,) in the order of their ids, test units left out."""

    treated: Flags  # in which arm; the others are the control
    phase: Ints  # in which the unit first met the test, from 1
    in_two_arms: Flags  # met both variants
    fresh: Ints  # needs that began in the current phase
    series: Mapping[str, Series]  # by metric or budget
    forced: int = 0  # test units, left out
    unexposed: int = 0  # units with decisions of the test that have no exposure: something was lost
    last_event_at: datetime | None = None  # when the newest event of the test arrived; None: none did, or not asked for

    def arm(self, arm: Arm) -> Flags:
        """Units that count for `arm`: those that met nothing else."""
        return (self.treated if arm == "treated" else ~self.treated) & ~self.in_two_arms

    def exposed(self) -> dict[str, int]:
        """Units per arm."""
        return {arm: int(self.arm(arm).sum()) for arm in ARMS}
