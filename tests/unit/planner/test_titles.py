"""Texts of an application's users, before they stand in a prompt or a report."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.recipes import load_recipes
from planner.titles import MOST_TITLE, clean

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Lentil soup", "Lentil soup"),
        ("  two\n\tlines \r\n", "two lines"),
        ("bell\x07 and nul\x00", "bell and nul"),
        ("turned \u202eround\u202c", "turned round"),
        ("half \ud83c a pair", "half a pair"),
        ("麻婆豆腐", "麻婆豆腐"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),  # one picture
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("x" * 100, "x" * MOST_TITLE),
        ("\u200b\ufeff", ""),
    ],
)
def test_one_line_of_visible_characters_is_left(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@PATIENT
@given(text=st.text(max_size=200))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert len(clean(text)) <= MOST_TITLE and "\n" not in clean(text)


def test_what_the_catalogue_says_stays_as_it_is() -> None:
    catalog = load_recipes()
    for text in [*(recipe.short for recipe in catalog.recipes.values()), *catalog.foods]:
        assert clean(text) == text
