"""Numbers and headlines as a product engineer reads them."""

import pytest

from bakeoff.report.words import figure, headline, limit, needed, share, signed, tick
from evidence import evidence, version


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.7314, "0.731"), (0.4, "0.400"), (12.44, "12.4"),
     (1234.0, "1,234"), (1234.5, "1,234"), (0.000421, "0.00042"), (-0.25, "-0.250")],
)  # fmt: skip
def test_a_figure_has_as_many_digits_as_say_something(value: float | None, said: str) -> None:
    assert figure(value) == said


def test_signs_limits_shares_and_ticks() -> None:
    assert [signed(x) for x in (0.5, -0.5, 0.0, -0.0, None)] == ["+0.500", "−0.500", "0", "0", "–"]
    assert [limit(x) for x in (0.03, -0.25, None)] == ["0.03", "−0.25", "–"]
    assert [tick(x) for x in (0.5, 0.0, -2.0)] == ["+0.5", "0", "−2"]
    assert [share(x) for x in (0.0312, 1.0, 0.0)] == ["3.1 %", "100 %", "0 %"]


def said(**change: object) -> str:
    made = evidence(**change)  # type: ignore[arg-type]
    return headline(made.stored, version(2).name, version(1).name)


def test_a_pass_says_what_it_opens_and_what_is_better() -> None:
    assert said() == (
        "menus_policy/2 may be tried on at most 10 % of the units: it is no worse than menus_policy/1 on all 2 gated "
        "metrics, keeps the one gated limit and is surely better on liking."
    )


def test_a_fail_names_what_is_worse_and_what_is_broken() -> None:
    assert said(ours=lambda n: 0.2) == (
        "menus_policy/2 must not meet anybody: it is worse than menus_policy/1 on liking."
    )
    assert said(safe=lambda n: float(n != 7)) == (
        "menus_policy/2 must not meet anybody: safe is 0.992, needed is at least 1."
    )


def test_too_few_rows_say_how_many_would_do() -> None:
    text = said(rows=12)
    assert text.startswith("There is not enough evidence to let menus_policy/2 meet anybody: nothing is proven about")
    assert "about 30 held-out units would probably settle it, and these rows count as" in text


def test_what_a_rule_needs() -> None:
    asked = [needed(verdict) for verdict in evidence().stored.report.all_verdicts()]
    assert asked[:3] == ["above −0.1", "above −5", "at least 1"]
