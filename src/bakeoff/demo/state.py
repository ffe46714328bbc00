"""What a demo has to remember between runs: its size, its seed and the day it ends on."""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from bakeoff.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Same state and same machine, same demo."""

    size: str
    seed: int
    dtype: str
    ends_on: str  # ISO date


def remember(home: Path, *, size: str, seed: int, dtype: str, today: date) -> State:
    """The state of the demo in `home`: a new one that ends today, or the one that was begun there. Raises
    UsageError where another demo lies there."""
    path = home / "demo.json"
    wanted = State(size=size, seed=seed, dtype=dtype, ends_on=today.isoformat())
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(wanted)) + "\n")
        part.rename(path)
        return wanted
    known = State(**json.loads(path.read_text()))
    if (known.size, known.seed, known.dtype) != (wanted.size, wanted.seed, wanted.dtype):
        raise UsageError(
            f"{home} holds a demo of size {known.size}, seed {known.seed}, {known.dtype}; "
            f"asked for was {size}, seed {seed}, {dtype}",
            cure=f"give the new one a folder of its own: BAKEOFF_HOME={home}-{size} bakeoff demo --{size}",
        )
    return known
