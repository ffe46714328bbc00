"""What one answer may cost."""

from dataclasses import replace

from bakeoff.inference.model import Decoding, PolicySpec
from bakeoff.inference.run_policy import prompt
from bakeoff.serving.model import NoAnswer
from bakeoff.task import Request, Task


def within(task: Task, spec: PolicySpec, request: Request, limit: float) -> PolicySpec:
    """`spec` with an answer cut off where it would cost more than `limit` (in the currency of its declared price).

    Of the prompt its words are counted, which are fewer than its tokens: nothing that could stay within the limit is
    refused, and what comes of it costs at most the limit and what the other tokens of the prompt cost. Raises NoAnswer
    'cost' where the prompt alone costs more."""
    price, decoding = spec.price, spec.decoding or Decoding()
    words = sum(len(message.content.split()) for message in prompt(task, spec, request))
    left = limit - words * price.per_million_prompt_tokens / 1e6
    if left < 0:
        raise NoAnswer(
            "cost", f"{words} words of prompt alone cost more than {limit:g} {price.currency}, the limit of a decision"
        )
    if not price.per_million_completion_tokens:
        return spec
    tokens = int(left * 1e6 / price.per_million_completion_tokens)
    if tokens < 1:
        raise NoAnswer("cost", f"an answer may cost {limit:g} {price.currency}, which is not one token")
    return replace(spec, decoding=replace(decoding, max_tokens=min(decoding.max_tokens, tokens)))
