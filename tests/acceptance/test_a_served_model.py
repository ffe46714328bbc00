"""The path without training: a prompt on a server, made, replayed and served as a person types it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import served
import stages
import teachable
from bakeoff import bootstrap, lifecycle, plugins, settings
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies

PROMPT = "You guess drinks.\nLook at what they like.\nSay nothing else.\nNever coffee after five.\n"
TYPED = ("policy", "create", "--task", "toy", "--endpoint", "house", "--model", served.MODEL)


def what_they_like(asked: served.Asked) -> Any:
    """A model that does as the prompt says, and knows petrol from nothing."""
    system, user = asked["messages"][0]["content"], asked["messages"][-1]["content"]
    drink = "coffee" if "likes coffee" in user else "tea"
    return served.body(json.dumps({"drink": drink if system.startswith("You guess drinks.") else "petrol"}))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[served.Server]:
    """A server that asks for a key, known to this person's settings as 'house'."""
    monkeypatch.setattr(plugins, "load_task", lambda _: teachable.Teachable())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.txt").write_text(PROMPT)
    with served.serving() as running:
        running.says, running.key = what_they_like, "s3cret"
        house = {
            "base_url": running.url,
            "key_variable": "HOUSE_KEY",
            "retries": 1,
            "prices": {served.MODEL: {"prompt": 2.0, "completion": 4.0}},
        }
        monkeypatch.setenv("BAKEOFF_ENDPOINTS", json.dumps({"house": house}))
        monkeypatch.setenv("HOUSE_KEY", "s3cret")
        yield running


def shop_with_a_log(bakeoff: Any, deps: Deps, clock: stages.Clock) -> None:
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:stubborn")
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "Ada", "--reason", "it serves")
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    bakeoff("dataset", "build", "--task", "toy")


def test_a_prompt_on_a_server_is_a_policy_version_that_replays(
    bakeoff: Any, deps: Deps, clock: stages.Clock, server: served.Server
) -> None:
    shop_with_a_log(bakeoff, deps, clock)
    made = bakeoff(*TYPED, "--prompt", "prompt.txt", "--json").json
    assert (made["name"], made["engine"]) == ("toy_policy/2", "openai")
    assert made["what"].startswith("house-7b on house, prompt ")
    assert bakeoff(*TYPED, "--prompt", "prompt.txt", "--json").json == made  # the same again
    plain = bakeoff(*TYPED, "--json").json
    assert plain["name"] == "toy_policy/3"

    replayed = bakeoff("replay", "toy_policy/2", "--json").json
    assert replayed["aggregates"]["right"] == 1.0
    assert replayed["aggregates"]["cost"] == pytest.approx((1000 * 2.0 + 500 * 4.0) / 1e6)
    with deps.db.transaction() as conn:
        kept = conn.execute("select engine from replays").fetchone()
    assert kept is not None
    assert kept["engine"]["answered_as"] == [{"model": f"{served.MODEL}-2026-11-01", "system_fingerprint": "fp_1"}]
    stored = json.dumps(kept["engine"], default=str)
    assert server.url not in stored
    assert "s3cret" not in stored


def test_show_has_the_prompts_first_lines_and_json_has_it_whole(bakeoff: Any, server: served.Server) -> None:
    bakeoff(*TYPED, "--prompt", "prompt.txt")
    shown = bakeoff("policy", "show", "toy_policy/1")
    assert "Say nothing else." in shown.out
    assert "Never coffee" not in shown.out
    assert f"4 lines, {len(PROMPT.strip())} characters" in shown.out
    spec = bakeoff("policy", "show", "toy_policy/1", "--json").json["spec"]
    assert spec["prompt"] == PROMPT.strip()
    assert spec["price"]["per_million_prompt_tokens"] == 2.0  # as the settings list it
    assert server.url not in json.dumps(spec)


def test_a_served_model_answers_people_and_its_last_resort_when_it_cannot(
    bakeoff: Any, clock: stages.Clock, server: served.Server
) -> None:
    bakeoff(*TYPED, "--prompt", "prompt.txt")
    bakeoff("policy", "create", "--task", "toy", "--python", "toy:stubborn")
    bakeoff("policy", "adopt", "toy_policy/1", "--by", "A", "--reason", "r", "--last-resort", "toy_policy/2")
    with bootstrap.open_deps(settings.load(), progress=stages.Silent(), clock=clock) as wired:

        def decide(key: str) -> tuple[dict[str, Any], dict[str, Any]]:
            answer = lifecycle.decide(
                wired, teachable.Teachable(), "toy_policy", key=key, unit_id=key,
                request={"likes": "coffee", "day": 1}, at=clock.now,
            ).answer  # fmt: skip
            with wired.db.transaction() as conn:
                found = conn.execute("select payload from events where unit_id = %s", (key,)).fetchone()
            assert found is not None
            return dict(answer), found["payload"]

        answer, payload = decide("somebody")
        assert (answer, payload["served_by"]) == ({"drink": "coffee"}, "toy_policy/1")
        assert (payload["prompt_tokens"], payload["cost"]) == (1000, pytest.approx(0.004))

        server.fails(*[served.refuse(503, "busy", retry_after_ms="1")] * 2)
        answer, payload = decide("another")
        assert (answer, payload["served_by"]) == ({"drink": "tea"}, "toy_policy/2")
        assert "Unreachable: endpoint 'house'" in payload["fallback_reason"]

        server.says = lambda asked: served.body('{"drink": "petrol"}')
        answer, payload = decide("a third")
        assert (answer, payload["raw_answer"]) == ({"drink": "tea"}, '{"drink": "petrol"}')
        assert payload["violations"][0]["rule"] == "unparseable"
        with wired.db.transaction() as conn:
            assert policies.find_version(conn, "toy_policy/1").status == "production"


def test_what_is_wrong_on_the_way_is_said(bakeoff: Any, server: served.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    create = ("policy", "create", "--task", "toy")
    assert "bakeoff policy create --base smollm2" in bakeoff(*create, code=2).err
    unknown = bakeoff(*create, "--endpoint", "horse", "--model", "m", code=2).err
    assert "known: house" in unknown
    assert "[endpoints.horse]" in unknown
    assert "cannot be read" in bakeoff(*TYPED, "--prompt", "no.txt", code=2).err
    assert bakeoff("policy", "list", "--json").json == {"policy_versions": []}  # nothing half-made

    other = bakeoff(*create, "--endpoint", "house", "--model", "hous-7b")
    assert "note: endpoint 'house' lists no model 'hous-7b', but house-7b, other-1b" in other.err
    monkeypatch.delenv("HOUSE_KEY")
    assert "note: endpoint 'house' takes its key from the variable HOUSE_KEY" in bakeoff(*TYPED).err
    assert "HOUSE_KEY, which is not set" in bakeoff("doctor", code=3).out


def test_a_local_model_takes_a_prompt_too(bakeoff: Any, server: served.Server, tmp_path: Path) -> None:
    import tiny

    base = tiny.write_model(tmp_path / "tiny")
    typed = ("policy", "create", "--task", "toy", "--base", base, "--dtype", "float32")
    plain, prompted = bakeoff(*typed, "--json").json, bakeoff(*typed, "--prompt", "prompt.txt", "--json").json
    assert (plain["name"], prompted["name"]) == ("toy_policy/1", "toy_policy/2")
    assert prompted["what"].startswith(f"{base}, prompt ")
