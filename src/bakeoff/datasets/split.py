"""Which split a unit belongs to: a pure function of its id, so it never moves as data grows."""

from collections.abc import Mapping

import mmh3

from bakeoff.datasets.model import Split

SHARES: Mapping[Split, int] = {Split.TRAIN: 6000, Split.VALIDATION: 1500, Split.TEST: 2500}  # basis points
SLICES = 4  # sealed parts of the test split, cut once by unit
_BASIS = 10_000


def bucket(salt: str, task: str, unit_id: str) -> int:
    """0 to 9999, by the first 64 bits of MurmurHash3 (x64, 128 bits) of ``salt|task|unit``."""
    return int(mmh3.hash64(f"{salt}|{task}|{unit_id}", signed=False)[0] % _BASIS)


def split_of(task: str, unit_id: str, shares: Mapping[Split, int] = SHARES) -> Split:
    """`shares` are basis points that add up to 10000. Raises ValueError if they do not."""
    if sum(shares.values()) != _BASIS or min(shares.values()) < 0:
        raise ValueError(f"shares add up to {sum(shares.values())} basis points, expected {_BASIS}")
    place = bucket("split1", task, unit_id)
    for split in Split:
        place -= shares.get(split, 0)
        if place < 0:
            return split
    raise AssertionError("unreachable: the shares cover every bucket")


def slice_of(task: str, unit_id: str, split: Split) -> int | None:
    """1 to `SLICES` for units of the test split, by a second salt; None elsewhere."""
    if split is not Split.TEST:
        return None
    return bucket("slice1", task, unit_id) * SLICES // _BASIS + 1
