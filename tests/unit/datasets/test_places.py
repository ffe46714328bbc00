"""Where test rows stand is read without their requests, and says the same as the rows themselves."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

import rows
import strict_shop
from bakeoff.datasets import files
from bakeoff.datasets.build import is_neutral
from bakeoff.datasets.model import Split
from bakeoff.datasets.places import places
from bakeoff.datasets.publish import publish
from bakeoff.task import Example


class Odd(strict_shop.Strict):
    """Metadata that one column cannot hold exactly, in the way that `kind` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def examples(self, episodes: Any) -> Any:
        for n, example in enumerate(super().examples(episodes)):
            assert isinstance(example, Example)
            yield replace(example, metadata=self._metadata(n))

    def _metadata(self, n: int) -> Mapping[str, Any]:
        if self.kind == "none":
            return {"note": "x"}
        if self.kind == "mixed":
            return {"built_by": ["unaided", 1, None][n % 3]}
        if self.kind == "inexact":
            return {"built_by": "unaided" if n % 2 else "proposal", **([{}, {"n": None}, {"n": 1}][n % 3])}
        return {"built_by": "unaided"} if n % 2 else {}


@pytest.mark.parametrize("kind", ["none", "mixed", "inexact", "sometimes"])
def test_they_agree_with_the_rows(tmp_path: Any, kind: str) -> None:
    log = [*strict_shop.stored(40), *strict_shop.stored(40, day=2.0, prefix="e", author="q")]
    written = publish(
        str(tmp_path), Odd(kind), log, since=rows.at(0), until=rows.at(3), shares=strict_shop.SHARES,
        minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    there, expected = places(written.uri), files.load(written.uri, splits=(Split.TEST,))
    assert there.example_ids == [row.example.example_id for row in expected]
    assert there.unit_ids == [row.example.unit_id for row in expected]
    assert there.slices.tolist() == [row.slice for row in expected]
    for compared in (("p",), ("q", "other"), ("p", "q")):
        assert there.neutral(*compared).tolist() == [is_neutral(row, *compared) for row in expected]
    moment: datetime = rows.at(1.5)
    assert there.within((1, 3), moment).tolist() == [
        row.slice in (1, 3) and row.example.occurred_at >= moment for row in expected
    ]
    assert there.within((1, 2, 3, 4)).all()


def test_a_test_split_without_rows(tmp_path: Any) -> None:
    shares = {Split.TRAIN: 9000, Split.VALIDATION: 1000, Split.TEST: 0}
    written = publish(
        str(tmp_path), strict_shop.Strict(), strict_shop.stored(20), since=rows.at(0), until=rows.at(3), shares=shares,
        minimum=dict.fromkeys(Split, 0),
    )  # fmt: skip
    there = places(written.uri)
    assert there.example_ids == []
    assert there.neutral("p").shape == there.within((1,)).shape == (0,)
