"""The token bucket, by worked numbers and by its promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.api.limits import Buckets


def test_a_full_bucket_gives_its_burst_and_then_what_flows_in() -> None:
    buckets = Buckets(rate=2.0, burst=3)
    assert [buckets.take("k", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("k", 0.25) == pytest.approx(0.25)
    assert buckets.take("k", 0.5) == 0.0
    assert buckets.take("other", 0.5) == 0.0, "each name has its own"
    assert [buckets.take("k", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5], "never more than the burst"


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 20), st.integers(1, 10))
def test_in_any_stretch_no_more_than_the_burst_and_what_flowed_in(pauses: list[float], rate: float, burst: int) -> None:
    buckets, now, let_in = Buckets(rate=rate, burst=burst), 0.0, 0
    for pause in pauses:
        now += pause
        let_in += buckets.take("k", now) == 0.0
    assert let_in <= burst + now * rate + 1e-6
