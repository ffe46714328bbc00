"""Entry (one number of one version), and Predictor (what offline numbers have been worth so far)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bakeoff.stats.agreement import Ranks, Signs

Side = Literal["offline", "online"]
Worth = Literal["too few", "predicts", "misleads", "not shown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An advantage of a version over the one that it was compared with: positive = better, in the metric's unit."""

    policy_id: str
    version: int
    against: int  # number of the version that it was compared with
    side: Side
    source: Literal["gate", "test", "holdback"]
    source_id: str  # digest of the gate report, or id of the experiment
    metric: str
    rows: str | None  # offline: 'all' or 'neutral'
    is_primary: bool  # online: whether the test was about this metric
    advantage: float | None  # None: not known (yet)
    lower: float | None  # offline: one-sided bounds at the gate's alpha; online: a confidence sequence at the spec's
    upper: float | None
    units: int | None
    says: str  # verdict of the gate report, or of the last look
    at: datetime

    @property
    def name(self) -> str:
        """The metric, with the rows that it was read on where these are not all."""
        return self.metric if self.rows in (None, "all") else f"{self.metric} ({self.rows} rows)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One version: what a gate's number said, and what a test's number said of the same two versions."""

    version: int
    against: int
    offline: float
    online: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """One offline metric against one online metric, over every version that has both."""

    offline: str
    online: str
    pairs: tuple[Pair, ...]  # one for each version, by version
    signs: Signs
    ranks: Ranks | None  # None: too few pairs, or all numbers of one side equal
    verdict: Worth


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Everything about one policy."""

    policy_id: str
    entries: tuple[Entry, ...]  # by version, offline first
    predictors: tuple[Predictor, ...]  # the most telling first
    unpaired: tuple[int, ...]  # versions whose gate and test compared them with different versions: in no pair
