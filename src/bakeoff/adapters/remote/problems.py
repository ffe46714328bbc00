"""What a server's refusal means for the person at the keyboard."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bakeoff.errors import BakeoffError, Unreachable, UsageError

if TYPE_CHECKING:
    from bakeoff.adapters.remote.connection import Endpoint

_LONGEST = 300  # characters of a server's own words


class TooSlow(Unreachable, TimeoutError):  # noqa: N818 - as its parent
    """The endpoint's own patience ran out, not the caller's deadline."""


def too_slow(endpoint: "Endpoint") -> TooSlow:
    return TooSlow(
        f"endpoint {endpoint.name!r} ({endpoint.base_url}) did not answer within {endpoint.timeout_s:g} s",
        cure="is it busy, or still loading the model? Else raise timeout_s of "
        f"[endpoints.{endpoint.name}] in bakeoff.toml",
    )


def explained(error: Exception, endpoint: "Endpoint", model: str) -> BakeoffError:
    """UsageError where asking again would not help, else Unreachable. `model` may be ''."""
    import httpx2
    import openai

    if isinstance(error, openai.APITimeoutError) and not isinstance(error.__cause__, httpx2.ConnectTimeout):
        return too_slow(endpoint)
    place = f"endpoint {endpoint.name!r} ({endpoint.base_url})"
    if isinstance(error, openai.APIStatusError):
        return _refused(error, place, endpoint, model)
    if isinstance(error, openai.APIConnectionError):
        tries, cause = f" after {endpoint.retries + 1} tries" if endpoint.retries else "", error.__cause__
        return Unreachable(
            f"{place} does not answer{tries}: {str(cause) or type(cause).__name__}",
            cure=f"start the server, or correct base_url of [endpoints.{endpoint.name}] in bakeoff.toml",
        )
    return strange(place, f"{error}")


def strange(place: str, said: str) -> Unreachable:
    """Something answers there, in another language."""
    return Unreachable(
        f"{place} answers, but not as an OpenAI-compatible server does: {said[:_LONGEST]}",
        cure="is the path of base_url right? It mostly ends with /v1",
    )


def _refused(error: Any, place: str, endpoint: "Endpoint", model: str) -> BakeoffError:
    status, said = error.status_code, _words(error)
    if status in (401, 403):
        return UsageError(f"{place} refuses the key ({status}): {said}", cure=_key(endpoint))
    if status == 404:
        asked = f" for model {model!r}" if model else ""
        return UsageError(
            f"{place} says 404{asked}: {said}",
            cure="bakeoff doctor lists the models that it serves; is the path of base_url right?",
        )
    if status == 429:
        return Unreachable(
            f"{place} is at its limit (429) after {endpoint.retries + 1} tries: {said}",
            cure=f"wait, or set requests_per_minute of [endpoints.{endpoint.name}]; is the quota used up?",
        )
    if status >= 500 or status in (408, 409):
        return Unreachable(
            f"{place} fails ({status}) after {endpoint.retries + 1} tries: {said}", cure="look into the server's log"
        )
    return UsageError(f"{place} does not take the question ({status}): {said}", cure=_advice(said))


def _key(endpoint: "Endpoint") -> str:
    if endpoint.key_variable:
        return f"correct the key in the variable {endpoint.key_variable}"
    return f"name the variable that holds the key: key_variable of [endpoints.{endpoint.name}] in bakeoff.toml"


def _advice(said: str) -> str | None:
    """What helps with refusals that hosted models are known for."""
    if "max_completion_tokens" in said:
        return 'set max_tokens_field = "max_completion_tokens" for this endpoint in bakeoff.toml'
    if "temperature" in said:
        return "make the policy with --temperature server: some models take none but their own"
    return None


def _words(error: Any) -> str:
    """The message inside the usual JSON of errors, else the start of whatever came."""
    body = error.body
    said = body.get("message") if isinstance(body, Mapping) else None
    return " ".join(str(said or error.message).split())[:_LONGEST]
