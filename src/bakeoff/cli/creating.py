"""``bakeoff policy create``: versions without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click

from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.cli import lineage
from bakeoff.cli.lookup import find_incumbent
from bakeoff.cli.session import answer, as_json, deps, policy_id, say, task_option
from bakeoff.errors import BakeoffError, UsageError
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price, RemoteModel
from bakeoff.inference.python_policy import load_function
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.settings import ModelPrice, Settings

_PRICES = ("price_prompt", "price_completion", "currency")
_MEANS = {
    "base": {"prompt", "dtype", "decoding", "max_tokens", *_PRICES},
    "endpoint": {"model", "prompt", "max_tokens", "temperature", "seed", *_PRICES},
    "function": {"function_version", "seed"},
}
"""What answers -> the options that mean something for it."""
_FLAGS = {"function": "--python"}
THREE_WAYS = (
    "a local model: bakeoff policy create --base smollm2\n"
    "  a model on a server: bakeoff policy create --endpoint house --model qwen3:8b --prompt prompt.txt\n"
    "  a function: bakeoff policy create --python package.module:function"
)


@click.command()
@task_option
@click.option("--base", help="A local model: an alias (smollm2), a hub id or a folder.")
@click.option(
    "--endpoint", metavar="NAME", help="An OpenAI-compatible server: a table [endpoints.NAME] in bakeoff.toml."
)
@click.option("--model", help="With --endpoint: the model, as the server calls it.")
@click.option("--python", "function", metavar="MODULE:FUNCTION", help="A function, for instance a heuristic.")
@click.option(
    "--prompt",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A text file in UTF-8. It stands in place of the task's system message, word by word.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer of a model.  [default: 1024]")
@click.option(
    "--temperature",
    metavar="NUMBER|server",
    help="With --endpoint: 0 to 2; 'server' sends none, and no seed, for models that take no other than theirs.  "
    "[default: 0]",
)
@click.option("--seed", type=int, help="Of a randomised function, or sent to the server.  [default: 0]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="[default: what is fast on this machine]")
@click.option(
    "--decoding",
    type=click.Choice(["choices", "greedy"]),
    help="With --base: all open places in one pass, or one after the other.  [default: choices]",
)
@click.option("--function-version", help="Raise it when the function changes.  [default: 1]")
@click.option(
    "--price-prompt",
    type=click.FloatRange(min=0),
    help="Per million prompt tokens.  [default: 0, or as bakeoff.toml says]",
)
@click.option("--price-completion", type=click.FloatRange(min=0), help="Per million completion tokens.")
@click.option("--currency", help="Of the prices.  [default: EUR]")
@as_json
def create(task_name: str, as_json: bool, **given: Any) -> None:
    """A policy version without training. The same again is the version that is there.

    What answers is a model on this machine, a model on a server, or a function. The prompt's text, the model and
    how it decodes are the version; an endpoint is only named, so that no address and no key becomes part of it.

    \b
    Example: bakeoff policy create --base smollm2
             bakeoff policy create --base smollm2 --prompt prompt.txt
             bakeoff policy create --endpoint house --model qwen3:8b --prompt prompt.txt
             bakeoff policy create --python planner.policies:heuristic

    \b
    A server is a table in bakeoff.toml:
      [endpoints.house]
      base_url = "http://localhost:8000/v1"
      key_variable = "HOUSE_KEY"     # the variable that holds the key, where one is asked for
    """
    kind = what_answers(given)
    task, found = plugins.load_task(task_name), settings.load()
    common: dict[str, Any] = {"task": task.name, "prompt_version": task.prompt_version}
    if given["prompt"] is not None:
        common["prompt"] = read_prompt(given["prompt"])
    with deps(found) as wired:
        spec = _spec(kind, common, given, wired, found)
        version = lifecycle.create_policy(wired, policy_id(task_name), spec)
        with wired.db.transaction() as conn:
            serves = find_incumbent(conn, version.policy_id)
    if spec.remote is not None and (problem := served_problem(found, spec.remote)):
        say(f"note: {problem}")
    following = "gate" if serves else "policy adopt"
    more = f"next: bakeoff {following} {version.name}" + ("" if serves else ' --by "Your Name" --reason "..."')
    text = f"{version.name} ({version.status}): {version.what}\n{more}"
    answer(as_json, version_row(version, serves=False), text)


def version_row(version: PolicyVersion, *, serves: bool) -> dict[str, Any]:
    """A line of `bakeoff policy list`."""
    return {
        "name": version.name,
        "status": version.status,
        "serves": "everyone" if serves else "",
        "engine": version.spec.engine,
        "what": version.what,
        "model": lineage.models_uri(version),
    }


def what_answers(given: Mapping[str, Any]) -> str:
    """'base', 'endpoint' or 'function'. Raises UsageError where that is not clear, or an option does not go with it."""
    chosen = [kind for kind in _MEANS if given[kind] is not None]
    if len(chosen) != 1:
        named = " and ".join(_flag(kind) for kind in chosen)
        raise UsageError(
            f"{named} are different policies" if chosen else "what answers? One of --base, --endpoint and --python",
            cure=THREE_WAYS,
        )
    kind = chosen[0]
    idle = [name for name, value in given.items() if value is not None and name not in {*_MEANS, *_MEANS[kind]}]
    if idle:
        fits = " and ".join(_flag(each) for each in _MEANS if idle[0] in _MEANS[each])
        raise UsageError(f"{_flag(idle[0])} means nothing with {_flag(kind)}", cure=f"it goes with {fits}")
    if kind == "endpoint" and given["model"] is None:
        raise UsageError(
            f"which model of endpoint {given['endpoint']!r}?",
            cure="add --model, as the server calls it; bakeoff doctor lists what it serves",
        )
    return kind


def _flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def read_prompt(file: Path) -> str:
    """The text of a prompt without white space around it, so that an editor's last newline makes no other policy.
    Raises UsageError."""
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt {file} cannot be read: {error}", cure="give a text file in UTF-8") from error
    if not text or "\0" in text:
        what = "a NUL character" if text else "no text"
        raise UsageError(f"the prompt {file} holds {what}", cure="write into it what the model is to do")
    return text


def _spec(kind: str, common: Mapping[str, Any], given: Mapping[str, Any], wired: Deps, found: Settings) -> PolicySpec:
    if kind == "function":
        load_function(given["function"])
        version = given["function_version"] or "1"
        return PolicySpec(
            engine="python", function=given["function"], function_version=version, seed=given["seed"] or 0, **common
        )
    tokens = given["max_tokens"] or Decoding().max_tokens
    if kind == "base":
        base = wired.bases.resolve(given["base"])
        return PolicySpec(
            engine="transformers",
            model=ModelRef(base=base.name, base_digest=base.digest),
            dtype=cast(Any, given["dtype"] or bootstrap.dtype(found)),
            decoding=Decoding(mode=given["decoding"] or "choices", max_tokens=tokens),
            price=_price(given, None),
            **common,
        )
    known = settings.endpoint(found, given["endpoint"])
    remote = RemoteModel(name=given["model"], endpoint=given["endpoint"], temperature=temperature(given["temperature"]))
    return PolicySpec(
        engine="openai",
        remote=remote,
        decoding=Decoding(max_tokens=tokens),
        seed=given["seed"] or 0,
        price=_price(given, known.prices.get(remote.name)),
        **common,
    )


def temperature(typed: str | None) -> float | None:
    """What is sent to a server; None: nothing. Raises UsageError."""
    if typed == "server":
        return None
    try:
        value = float(typed or 0)
        if not 0 <= value <= 2:
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"--temperature is {typed!r}", cure="expected a number from 0 to 2, or: --temperature server"
        ) from error
    return value


def _price(given: Mapping[str, Any], listed: ModelPrice | None) -> Price:
    """As typed, else as the settings list it, else nothing."""
    listed = listed or ModelPrice(prompt=0, completion=0)
    prompt, completion = given["price_prompt"], given["price_completion"]
    return Price(
        per_million_prompt_tokens=listed.prompt if prompt is None else prompt,
        per_million_completion_tokens=listed.completion if completion is None else completion,
        currency=given["currency"] or listed.currency,
    )


def served_problem(found: Settings, remote: RemoteModel) -> str | None:
    """Why the server would not answer right now; a version can be made all the same."""
    from bakeoff.adapters.remote.engine import served_models

    try:
        names = served_models(bootstrap.endpoint(found, remote.endpoint))
    except BakeoffError as error:
        return str(error)
    if remote.name in names:
        return None
    return f"endpoint {remote.endpoint!r} lists no model {remote.name!r}, but {', '.join(names) or 'none at all'}"
