"""The catalogue of dinners, with provenance. Sources and licences: ``planner/data/SOURCES.md``."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

DATA = Path(__file__).parent / "data"
LONGEST_MINUTES = 180  # a dish that takes longer is no dinner of an ordinary week

Cost = Literal["low", "mid", "high"]
Flag = Literal["yes", "no", "unknown"]

_CUISINES = {
    "american": "american", "australian": "american", "cajun": "american", "quebecois": "american",
    "asian": "asian", "thai": "asian", "korean": "asian", "vietnamese": "asian", "filipino": "asian",
    "indonesian": "asian", "chinese": "chinese", "italian": "italian", "japanese": "japanese",
    "indian": "indian", "pakistani": "indian", "french": "french",
    "mexican": "latin", "peruvian": "latin", "brazilian": "latin",
    "spanish": "iberian", "portuguese": "iberian",
    "greek": "mediterranean", "turkish": "mediterranean", "tunisian": "mediterranean",
    "lebanese": "mediterranean", "mediterranean": "mediterranean",
    "russian": "slavic", "ukrainian": "slavic", "uzbek": "slavic", "hungarian": "slavic",
    "romanian": "slavic",
}  # fmt: skip
_PROTEINS = {"meat_unspecified": "meat", "tofu_soy": "tofu", "duck_other": "duck", "none": "vegetables"}
_COST_POINTS = {"low": 0.0, "mid": 1.0, "high": 2.0}
_NO_SHOPPING = frozenset({"water_salt", "spice_dried_herb", "sauce_condiment", "herb", "fat_oil", "baking"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Food:
    """What the planner needs to know about one ingredient."""

    item: str  # name in the lexicon
    perishable: bool
    shelf_days: int  # from purchase, unopened, in its usual storage
    opened_days: int  # once cut or opened
    cost: Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One dinner."""

    recipe_id: str
    title: str
    short: str  # at most 24 ASCII characters, unique in the catalogue
    cuisine: str  # one of about a dozen groups; 'home' where the source states none
    protein: str  # main protein, 'vegetables' where there is none
    minutes: int  # stated, else estimated
    cost: Cost  # editorial approximation from its ingredients
    items: tuple[str, ...]  # lexicon names, sorted
    perishables: tuple[str, ...]  # those of `items` that spoil, sorted
    flags: Mapping[str, Flag]  # per diet or allergen; unknown never counts as safe
    license: str
    author: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """Everything that can be planned."""

    recipes: Mapping[str, Recipe]  # by id, in the order of ids
    foods: Mapping[str, Food]  # by item
    free_flags: Mapping[str, str]  # allergen key -> flag that says a recipe is free from it


@cache
def load_recipes() -> Catalog:
    """The dinners shipped with the package; read once per process."""
    foods = _foods()
    lines = (DATA / "recipes.jsonl").read_text(encoding="utf-8").splitlines()
    raws = sorted((json.loads(line) for line in lines), key=lambda raw: str(raw["recipe_id"]))
    dinners = [raw for raw in raws if "dinner" in raw["meal_slots"] and _minutes(raw) <= LONGEST_MINUTES]
    taken: set[str] = set()
    recipes = {str(raw["recipe_id"]): _recipe(raw, foods, taken) for raw in dinners}
    return Catalog(recipes=MappingProxyType(recipes), foods=MappingProxyType(foods), free_flags=free_flags())


def _read(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@cache
def free_flags() -> Mapping[str, str]:
    """Allergen key (of the 14 in the EU's list) -> flag that says a recipe is free from it."""
    allergens = _read("allergens_eu14.json")["allergens"]
    return MappingProxyType({str(a["key"]): str(a["free_flag"]) for a in allergens})


@cache
def _lexicon() -> Mapping[str, Mapping[str, Any]]:
    return cast(Mapping[str, Mapping[str, Any]], _read("ingredient_lexicon.json")["items"])


def _foods() -> dict[str, Food]:
    return {
        item: Food(
            item=item,
            perishable=bool(row["perishable"]),
            shelf_days=int(row["shelf_days"]),
            opened_days=int(row["opened_days"] or row["shelf_days"]),
            cost=row["cost_tier"],
        )
        for item, row in sorted(_lexicon().items())
    }


def _minutes(raw: Mapping[str, Any]) -> int:
    return int(raw["total_minutes"] or raw["estimated_minutes"])


def _recipe(raw: Mapping[str, Any], foods: Mapping[str, Food], taken: set[str]) -> Recipe:
    items = tuple(sorted({line["item"] for line in raw["ingredients"] if line["item"] in foods}))
    cuisines = raw["cuisine"]
    return Recipe(
        recipe_id=raw["recipe_id"],
        title=raw["title"],
        short=_short(raw["title"], taken),
        cuisine=_CUISINES.get(cuisines[0], "european") if cuisines else "home",
        protein=_PROTEINS.get(raw["main_protein"], raw["main_protein"]),
        minutes=_minutes(raw),
        cost=_cost(items, foods),
        items=items,
        perishables=tuple(item for item in items if foods[item].perishable),
        flags=MappingProxyType(dict(sorted(raw["diet_flags"].items()))),
        license=raw["license"],
        author=raw["author"] or f"contributors to {raw['source']['repo'].removeprefix('https://')}",
    )


def _cost(items: tuple[str, ...], foods: Mapping[str, Food]) -> Cost:
    """By the sum over what has to be bought (0 to 2 points each; staples do not count): 4 and up is 'high'."""
    lexicon = _lexicon()
    points = sum(_COST_POINTS[foods[i].cost] for i in items if lexicon[i]["food_group"] not in _NO_SHOPPING)
    if points >= 4.0:
        return "high"
    return "mid" if points >= 2.0 else "low"


def _short(title: str, taken: set[str]) -> str:
    """A title of at most 24 ASCII characters, cut between words; numbered if it is taken."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\(.*?\)", "", title)).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9' -]", " ", plain).replace("'", "").replace("-", " ").split()
    words = [word for word in words if word.lower() not in {"the", "with", "and", "recipe", "a", "style"}]
    short = ""
    for word in words:
        if short and len(short) + 1 + len(word) > 22:
            break
        short = f"{short} {word}".strip()[:22]
    unique = next(f"{short}{n}" for n in ["", *map(str, range(2, 100))] if f"{short}{n}" not in taken)
    taken.add(unique)
    return unique
