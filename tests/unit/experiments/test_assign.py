"""Assignment: published hash vectors, widening, balance, and independence between experiments."""

import subprocess
import sys

import mmh3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as sps

from bakeoff.errors import UsageError
from bakeoff.experiments.assign import assign, assign_decision, bucket

PINNED = [7727, 7143, 5375, 9434, 2326, 8347]
UNITS = [f"household-{i}" for i in range(20_000)]


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0x00000000),
        ("", 1, 0x514E28B7),
        ("", 0xFFFFFFFF, 0x81F16F39),
        ("test", 0, 0xBA6BD213),
        ("Hello, world!", 0, 0xC0363E43),
        ("The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
        ("aaaa", 0x9747B28C, 0x5A97808A),
    ],
)
def test_published_murmur3_x86_32_vectors(text: str, seed: int, expected: int) -> None:
    assert mmh3.hash(text.encode(), seed, signed=False) == expected


def test_the_bucket_is_the_hash_of_version_salt_and_unit_scaled_down() -> None:
    value = mmh3.hash(b"hv1|exp/inclusion|h\xc3\xa9", 0, signed=False)
    assert bucket("exp/inclusion", "hé") == int(value / 2**32 * 10_000)


def test_pinned_assignments_never_change() -> None:
    """If this fails, every running experiment is dealt anew."""
    got = [bucket("exp-1/inclusion", f"household-{i}") for i in range(6)]
    assert got == PINNED


def test_another_process_deals_the_same() -> None:
    code = (
        "from bakeoff.experiments.assign import bucket;"
        "print([bucket('exp-1/inclusion', f'household-{i}') for i in range(6)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(PINNED)


@given(st.text(min_size=1, max_size=20), st.integers(0, 5000), st.integers(0, 5000))
def test_widening_never_moves_a_unit_that_is_in(unit: str, one: int, other: int) -> None:
    narrow, wide = assign("exp", unit, min(one, other)), assign("exp", unit, max(one, other))
    if narrow is not None:
        assert wide is not None
        assert (wide.arm, wide.bucket) == (narrow.arm, narrow.bucket)


@given(st.text(min_size=1, max_size=20))
def test_everyone_is_in_at_half_and_nobody_at_zero(unit: str) -> None:
    assert assign("exp", unit, 5000) is not None
    assert assign("exp", unit, 0) is None


@pytest.mark.parametrize("treated_bp", [100, 500, 1000, 5000])
def test_both_arms_get_the_declared_share_of_units(treated_bp: int) -> None:
    """Within 99.99 % binomial bands."""
    arms = [found.arm if (found := assign("share", unit, treated_bp)) else None for unit in UNITS]
    for arm in ("treated", "control"):
        low, high = sps.binom.interval(0.9999, len(UNITS), treated_bp / 10_000)
        assert low <= arms.count(arm) <= high
    found = assign("share", UNITS[arms.index("treated")], treated_bp)
    assert found is not None
    assert found.assignment_probability == treated_bp / 10_000


def test_buckets_are_uniform() -> None:
    counts = np.bincount([bucket("uniform/inclusion", unit) // 100 for unit in UNITS], minlength=100)
    assert sps.chisquare(counts).pvalue > 1e-4


def test_inclusion_says_nothing_about_the_arm() -> None:
    """One hash for both would put every unit of a small ramp into one arm."""
    pairs = [(found.bucket < 500, found.arm == "treated") for u in UNITS if (found := assign("salts", u, 1000))]
    table = np.array([[sum(p == (a, b) for p in pairs) for b in (True, False)] for a in (True, False)])
    assert sps.chi2_contingency(table).pvalue > 1e-4


def test_fifty_experiments_deal_independently_of_each_other() -> None:
    """Correlation of arms over 2,000 units for all 1,225 pairs: none beyond what 1e-4 allows for the largest."""
    units = UNITS[:2000]
    arms = np.array([[bucket(f"exp-{e}/variant", unit) < 5000 for unit in units] for e in range(50)], dtype=np.float64)
    correlation = np.corrcoef(arms)[np.triu_indices(50, 1)]
    assert len(correlation) == 1225
    bound = sps.norm.ppf(1 - 1e-4 / (2 * len(correlation))) / np.sqrt(len(units))
    assert np.abs(correlation).max() < bound


def test_decisions_are_dealt_by_key_and_say_how_likely_they_were() -> None:
    dealt = [assign_decision("default", f"decision-{i}", 1500) for i in range(10_000)]
    explored = sum(one.variant == "explorer" for one in dealt)
    low, high = sps.binom.interval(0.9999, 10_000, 0.15)
    assert low <= explored <= high
    assert {(one.variant, one.assignment_probability) for one in dealt} == {("explorer", 0.15), ("incumbent", 0.85)}
    assert assign_decision("default", "decision-7", 1500) == dealt[7]
    assert assign_decision("default", "any", 0).variant == "incumbent"
    assert assign_decision("default", "any", 10_000).variant == "explorer"


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="unit id is empty"):
        assign("exp", "", 100)
    with pytest.raises(UsageError, match="expected 0 to 5000"):
        assign("exp", "u", 5001)
    with pytest.raises(UsageError, match="expected 0 to 10000"):
        assign_decision("exp", "k", -1)
