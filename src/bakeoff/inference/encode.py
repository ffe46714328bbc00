"""Messages and a schema in, token ids out: the one piece that training, replay and serving share.

A prompt is the model's own chat template, rendered once and tokenised without adding special tokens. An
answer is compact JSON (no white space, keys in schema order), tokenised canonically, that is as the tokenizer
would cut the whole text; llguidance confirms that the schema accepts exactly these ids. Prompt and answer are
tokenised apart and joined, so no merge can cross the border and the prompt is always a prefix.

A *closed* schema (flat object, every property required and an enum or const) has one choice point per
property with more than one value: the first token at which the values part.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from bakeoff.errors import BakeoffError, UsageError
from bakeoff.fingerprint import digest
from bakeoff.task import JsonSchema, Message

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
# Some templates (Llama 3) write today's date into the prompt; a pinned day keeps yesterday's replay equal to today's.
_DAY = "26 Jul 2024"
_PINNED_CLOCK = "{% macro strftime_now(format) %}" + _DAY + "{% endmacro %}"
_PROBE_MESSAGES = (
    Message(role="system", content="You plan."),
    Message(role="user", content='Pick: "soup", 30 min — crème?'),
)
_PROBE_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {'soup "hot", 30 min': {"enum": ["no", "yes"]}, "crème": {"enum": ["no", "yes"]}},
    "required": ['soup "hot", 30 min', "crème"],
    "additionalProperties": False,
}


class OpenSchemaError(UsageError):
    """The schema has no finite list of choice points; only the greedy walk can answer it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoicePoint:
    """One place where the schema leaves more than one value open."""

    key: str  # property name
    index: int  # position in `Encoded.answer_ids` of the token that decides; the logits before it decide
    allowed: Mapping[str, int]  # JSON text of each allowed value -> its deciding token; in schema order


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Token ids of a prompt and of one full answer, with the places that are open."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]  # every open place holds the value given for it, else the schema's first
    choices: tuple[ChoicePoint, ...]  # in the order of the answer

    @property
    def input_ids(self) -> list[int]:
        return [*self.prompt_ids, *self.answer_ids]

    def position(self, choice: ChoicePoint) -> int:
        """Index in `input_ids` whose hidden state predicts the deciding token."""
        return len(self.prompt_ids) + choice.index - 1


def json_text(value: object) -> str:
    """Compact JSON, as llguidance writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def closed_values(schema: JsonSchema) -> dict[str, tuple[str, ...]]:
    """Property -> JSON texts of its allowed values, both in schema order. Raises OpenSchemaError."""
    properties = schema.get("properties")
    if schema.get("type") != "object" or not properties:
        raise OpenSchemaError("the schema is not an object with properties", cure="use decoding mode 'greedy'")
    if schema.get("additionalProperties", True) is not False or set(schema.get("required", ())) != set(properties):
        raise OpenSchemaError(
            "the schema leaves open which properties appear",
            cure="set additionalProperties to false and list every property in 'required', or decode 'greedy'",
        )
    return {key: _values_of(key, body) for key, body in properties.items()}


def _values_of(key: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    if "const" in body:
        return (json_text(body["const"]),)
    values = tuple(json_text(value) for value in body.get("enum", ()))
    if not values or len(set(values)) != len(values):
        raise OpenSchemaError(
            f"property {key!r} is not a closed set of distinct values",
            cure="give it an enum or a const, or use decoding mode 'greedy'",
        )
    return values


def closed_text(allowed: Mapping[str, Sequence[str]], values: Mapping[str, str]) -> str:
    """The compact JSON text that holds `values`, and the first allowed value elsewhere. Raises UsageError."""
    for key, value in values.items():
        if value not in allowed.get(key, ()):
            raise UsageError(
                f"{value} is not an allowed value of property {key!r}",
                cure=f"expected one of {', '.join(allowed.get(key, ())) or 'no such property'}",
            )
    return "{" + ",".join(f"{json_text(key)}:{values.get(key, texts[0])}" for key, texts in allowed.items()) + "}"


class Encoder:
    """One tokenizer with its chat template and its llguidance twin. Give it only `open`'s or a fast tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        import llguidance.hf
        from tokenizers import Tokenizer

        self.tokenizer = tokenizer
        self._answers = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._answers.no_padding()
        self._answers.no_truncation()
        self._answers.encode_special_tokens = True  # a recipe called '<|im_end|>' is text, not the end of a turn
        self._guide = llguidance.hf.from_tokenizer(tokenizer)
        self._grammar = lru_cache(maxsize=64)(self._compile)
        self._prefix = lru_cache(maxsize=64)(self._prefix_of)
        self._hears_system = _hears_system(tokenizer)
        self._adds_system = self._hears_system and _adds_system_prompt(tokenizer)
        self._control = sorted(token.content for token in tokenizer.added_tokens_decoder.values())

    @classmethod
    def open(cls, path: Path) -> "Encoder":
        """From a folder with a fast tokenizer. Raises UsageError."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        if not getattr(tokenizer, "is_fast", False) or not tokenizer.chat_template:
            raise UsageError(
                f"the model in {path} has no fast tokenizer with a chat template",
                cure="choose an instruct model that ships tokenizer.json and a chat template",
            )
        return cls(tokenizer)

    @property
    def template_digest(self) -> str:
        """Changes whenever the template, the tokenizer or this module would encode a request differently."""
        probe = self.encode(_PROBE_MESSAGES, _PROBE_SCHEMA)
        return digest(
            {
                "template": self.tokenizer.get_chat_template(),  # of several named ones, the one that is used
                "prompt_ids": probe.prompt_ids,
                "answer_ids": probe.answer_ids,
                "choices": [[c.key, c.index, c.allowed] for c in probe.choices],
            }
        )

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The chat template's ids, ending where the assistant begins to speak.

        A template that would slip in a system prompt of its own gets an empty one instead; for one that knows no
        system role (Gemma) the system message goes before the first user's words, a blank line between them."""
        turns = [{"role": m.role, "content": self._harmless(m.content)} for m in messages]
        if not self._hears_system:
            turns = _without_system(turns)
        if self._adds_system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": ""})
        text = _render(self.tokenizer, turns)
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def shared_ids(self, messages: Sequence[Message], prompt_ids: Sequence[int]) -> tuple[int, ...]:
        """The beginning of `prompt_ids` that every prompt with the same instructions has: what the template writes up
        to the first word that is not of a system message. It depends on those messages alone, not on what was asked
        before; () where the prompt's first word melts into it."""
        instructions = tuple(m.content for m in takewhile(lambda m: m.role == "system", messages))
        prefix = self._prefix(instructions)
        return prefix if tuple(prompt_ids[: len(prefix)]) == prefix else ()

    def _prefix_of(self, instructions: tuple[str, ...]) -> tuple[int, ...]:
        system = [Message(role="system", content=content) for content in instructions]
        one, other = (self.prompt_ids([*system, Message(role="user", content=probe)]) for probe in ("A", "0"))
        return tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Canonical ids of an answer; control tokens inside it stay plain text."""
        return tuple(self._answers.encode(text, add_special_tokens=False).ids)

    def encode(
        self, messages: Sequence[Message], schema: JsonSchema, values: Mapping[str, str] | None = None
    ) -> Encoded:
        """Ids of the prompt and of the closed answer that holds `values` (JSON texts by property).

        Raises OpenSchemaError where the schema has open places that are no closed sets, or two values of one place
        begin with the same token; UsageError for a value that the schema does not allow."""
        answer_ids, choices = self.encode_answer(schema, values or {})
        return Encoded(prompt_ids=self.prompt_ids(messages), answer_ids=answer_ids, choices=choices)

    def encode_answer(
        self, schema: JsonSchema, values: Mapping[str, str]
    ) -> tuple[tuple[int, ...], tuple[ChoicePoint, ...]]:
        """Ids of the closed answer that holds `values`, and its choice points. Raises like `encode`."""
        allowed = closed_values(schema)
        text = closed_text(allowed, values)
        ids = self.answer_ids(text)
        self.confirm(schema, text)
        choices = tuple(
            self._choice(key, texts, allowed, values, ids) for key, texts in allowed.items() if len(texts) > 1
        )
        return ids, choices

    def encode_choice(
        self, schema: JsonSchema, values: Mapping[str, str], key: str
    ) -> tuple[tuple[int, ...], ChoicePoint]:
        """As `encode_answer`, for one choice point and without asking the grammar: a walk asks it once, at its end."""
        allowed = closed_values(schema)
        ids = self.answer_ids(closed_text(allowed, values))
        return ids, self._choice(key, allowed[key], allowed, values, ids)

    def _choice(
        self,
        key: str,
        texts: Sequence[str],
        allowed: Mapping[str, Sequence[str]],
        values: Mapping[str, str],
        ids: Sequence[int],
    ) -> ChoicePoint:
        variants = self._answers.encode_batch(
            [closed_text(allowed, {**values, key: text}) for text in texts], add_special_tokens=False
        )
        index = min(_first_difference(ids, v.ids) for v in variants if tuple(v.ids) != tuple(ids))
        tokens = {text: variant.ids[index] for text, variant in zip(texts, variants, strict=True)}
        if len(set(tokens.values())) < len(tokens):
            raise OpenSchemaError(
                f"two values of property {key!r} begin with the same token: {', '.join(texts)}",
                cure="choose values that differ in their first word, or use decoding mode 'greedy'",
            )
        return ChoicePoint(key=key, index=index, allowed=tokens)

    def matcher(self, schema: JsonSchema) -> Any:
        """A fresh llguidance matcher that walks the schema's compact JSON. Raises UsageError for a keyword
        that llguidance does not enforce."""
        return self._grammar(json_text(schema)).deep_copy()

    def _compile(self, schema: str) -> Any:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._guide, LLMatcher.grammar_from_json_schema(schema, overrides=_COMPACT))
        if matcher.is_error():
            raise UsageError(
                f"the answer schema cannot be enforced: {matcher.get_error()}",
                cure="keep to the keywords that llguidance enforces (no uniqueItems, contains, if/then, not)",
            )
        return matcher

    def confirm(self, schema: JsonSchema, text: str) -> None:
        """Raises BakeoffError unless the schema accepts the canonical ids of `text`, whole."""
        matcher = self.matcher(schema)
        ids = list(self.answer_ids(text))
        if matcher.validate_tokens(ids) != len(ids) or not matcher.consume_tokens(ids) or not matcher.is_accepting():
            raise BakeoffError(f"the schema does not accept its own answer: {text[:200]}")

    def closed_answer(self, schema: JsonSchema, values: Mapping[str, str]) -> str:
        """The answer that holds `values`, confirmed by the grammar. Raises like `encode`, and BakeoffError."""
        text = closed_text(closed_values(schema), values)
        self.confirm(schema, text)
        return text

    def text(self, ids: Sequence[int]) -> str:
        """The text of answer ids."""
        return str(self._answers.decode(list(ids), skip_special_tokens=False))

    def _harmless(self, content: str) -> str:
        """Text that cannot end a turn: control tokens in user text are broken with a space."""
        for token in self._control:
            content = content.replace(token, f"{token[:1]} {token[1:]}")
        return content


def _first_difference(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    raise OpenSchemaError("one value is the beginning of another", cure="use decoding mode 'greedy'")


def _render(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    template = tokenizer.get_chat_template()
    return str(
        tokenizer.apply_chat_template(
            list(turns),
            chat_template=_PINNED_CLOCK + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
            date_string=_DAY,
        )
    )


def _hears_system(tokenizer: Any) -> bool:
    """Does a system message reach the prompt? Some templates raise for one, others pass over it in silence."""
    from jinja2 import TemplateError

    said = "Zebra 7"
    try:
        text = _render(tokenizer, [{"role": "system", "content": said}, {"role": "user", "content": "x"}])
    except TemplateError:
        return False
    return said in text


def _without_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """System messages, put before the words of the first user. Raises UsageError where no user speaks first."""
    said = [turn["content"] for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    if not said:
        return others
    if not others or others[0]["role"] != "user":
        raise UsageError(
            "this model's chat template has no system role, and no user speaks first",
            cure="let Task.render give a user message after the system message",
        )
    first = {"role": "user", "content": "\n\n".join([*said, others[0]["content"]])}
    return [first, *others[1:]]


def _adds_system_prompt(tokenizer: Any) -> bool:
    """Does the template say more without a system message than with an empty one?"""
    user = {"role": "user", "content": "x"}
    with_empty = _render(tokenizer, [{"role": "system", "content": ""}, user])
    return len(_render(tokenizer, [user])) > len(with_empty)
