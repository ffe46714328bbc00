import random
from datetime import UTC, datetime, timedelta

from bakeoff.datasets.chosen import Chosen
from bakeoff.datasets.model import Line, Split

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def _line(number: int) -> Line:
    return Line(
        example_id=f"row-{number}", unit_id="u", occurred_at=BEGAN + timedelta(hours=number), split=Split.TRAIN,
        slice=None, request_digest="", request=b"{}", target=b"{}", metadata=b"{}",
    )  # fmt: skip


def _chosen(most: int, lines: list[Line]) -> list[str]:
    sample = Chosen(most=most)
    for line in lines:
        sample.offer(line)
    return [line.example_id for line in sample.lines()]


def test_the_order_of_the_stream_does_not_matter_and_time_orders_the_sample() -> None:
    lines = [_line(n) for n in range(500)]
    shuffled = random.Random(1).sample(lines, 500)
    found = _chosen(40, lines)
    assert found == _chosen(40, shuffled)
    assert found == sorted(found, key=lambda name: int(name.removeprefix("row-")))
    assert len(found) == 40


def test_a_longer_stream_only_replaces_what_it_must() -> None:
    """Rows of a sample that grows are those of the sample before, or new ones: none comes back from the past."""
    lines = [_line(n) for n in range(1000)]
    before, after = set(_chosen(100, lines[:500])), set(_chosen(100, lines))
    assert after - before <= {line.example_id for line in lines[500:]}


def test_every_part_of_the_stream_is_chosen_from() -> None:
    """300 of 3000: each tenth is expected 30 times; four standard errors are 21."""
    found = _chosen(300, [_line(n) for n in range(3000)])
    for tenth in range(10):
        assert abs(sum(int(name.removeprefix("row-")) // 300 == tenth for name in found) - 30) < 21


def test_a_short_stream_is_chosen_whole() -> None:
    assert len(_chosen(10, [_line(n) for n in range(3)])) == 3
