"""Which dishes this household can have at all: what its allergies and diets ask of an option, and what it cannot show.

A flag counts as kept only where it says 'yes'. 'no' is a breach. 'unknown' (an ingredient that nobody could read) is a
breach too in the strict reading, by which plans are made and judged; in the lenient one, which is only shown, it is
unverified. A flag that an option does not have is unknown.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from bakeoff.task import Request
from planner.recipes import free_flags
from planner.requests import DIET_FLAGS

Option = Mapping[str, Any]
Rule = Literal["allergy", "diet"]


def needed_rules(request: Request) -> dict[str, Rule]:
    """Flag -> the rule that asks for it, for all eaters together. An allergen that is none of the EU's 14 has the
    flag 'KEY_free', a diet that is none of ours its own name."""
    household = request["household"]
    allergies = {free_flags().get(key, f"{key}_free") for key in household["allergies"]}
    diets = {DIET_FLAGS.get(key, key) for key in household["diets"]}
    return {**dict.fromkeys(sorted(allergies), "allergy"), **dict.fromkeys(sorted(diets), "diet")}


def unsafe_flags(request: Request, option: Option) -> dict[str, str]:
    """The flags that `option` cannot show -> 'no' or 'unknown', by name; empty for a safe dish. Looks at what the
    household needs, and at every other flag that the option itself carries."""
    return _unsafe(needed_rules(request), option)


def safe_options(request: Request) -> list[int]:
    """Indexes of the options that every eater can have, in their order."""
    needed = needed_rules(request)
    return [index for index, option in enumerate(request["options"]) if not _unsafe(needed, option)]


def rule_of(request: Request, flag: str) -> Rule:
    """Which rule a dish without `flag` breaks."""
    return needed_rules(request).get(flag) or ("diet" if flag in DIET_FLAGS.values() else "allergy")


def _unsafe(needed: Iterable[str], option: Option) -> dict[str, str]:
    flags: Mapping[str, str] = option["flags"]
    found = {flag: flags.get(flag, "unknown") for flag in sorted({*needed, *flags})}
    return {flag: value for flag, value in found.items() if value != "yes"}
