"""Does an answer obey the schema that it was asked for? Local engines cannot give another; a server may."""

import json
from typing import Any

from bakeoff.errors import UsageError
from bakeoff.task import JsonSchema, ParseError

_LONGEST = 200  # characters of what is wrong; an enum of a thousand options is no help


def check_conforms(schema: JsonSchema, text: str) -> None:
    """Raises ParseError that says where `text` is no JSON, or breaks `schema`; UsageError where jsonschema is not
    installed."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ImportError as error:
        raise UsageError(
            f"answers of a server are checked with jsonschema: {error}", cure="pip install 'bakeoff[openai]'"
        ) from error
    try:
        answer: Any = json.loads(text)
        broken = best_match(Draft202012Validator(schema).iter_errors(answer))
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise ParseError(f"the answer is no JSON: {error}") from error
    if broken is not None:
        said = broken.message if len(broken.message) <= _LONGEST else f"{broken.message[:_LONGEST]}..."
        raise ParseError(f"the answer breaks its schema at {broken.json_path}: {said}")
