"""The catalogue that ships with the package."""

from pathlib import Path

import planner
from planner.recipes import DATA, LONGEST_MINUTES, load_recipes


def test_every_dinner_has_time_licence_and_author() -> None:
    recipes = load_recipes().recipes
    assert len(recipes) > 300
    for recipe in recipes.values():
        assert 0 < recipe.minutes <= LONGEST_MINUTES
        assert recipe.license and recipe.author


def test_short_titles_are_unique_ascii_and_short() -> None:
    shorts = [recipe.short for recipe in load_recipes().recipes.values()]
    assert len(set(shorts)) == len(shorts)
    assert all(short.isascii() and 0 < len(short) <= 24 for short in shorts)
    assert not any(set(short) & set('":\\{}') for short in shorts)


def test_every_allergen_of_the_eu_list_has_a_flag_in_every_recipe() -> None:
    catalog = load_recipes()
    assert len(catalog.free_flags) == 14
    for recipe in catalog.recipes.values():
        assert set(catalog.free_flags.values()) <= recipe.flags.keys()


def test_a_contained_allergen_is_never_flagged_free() -> None:
    peanut = [r for r in load_recipes().recipes.values() if "peanut" in r.items]
    assert peanut
    assert all(recipe.flags["peanut_free"] == "no" for recipe in peanut)


def test_attribution_travels_with_the_data() -> None:
    licences = {path.name for path in (DATA / "LICENSES").iterdir()}
    assert {"CC-BY-4.0.nononsensecooking.txt", "MIT.recipe-manuals.txt"} <= licences
    assert "nononsense.cooking contributors, CC BY 4.0" in (DATA / "SOURCES.md").read_text(encoding="utf-8")


def test_migrations_name_every_table_with_its_schema() -> None:
    files = sorted(planner.migrations().glob("*.sql"))
    text = "".join(Path(file).read_text(encoding="utf-8") for file in files)
    for table in ("households", "members", "pantry_items", "recipes", "constraints", "plans"):
        assert f"create table planner.{table} " in text
