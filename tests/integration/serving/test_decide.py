"""One decision after the other through the real path: stored, once, with who served it."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest

import rows
import toy
from bakeoff.adapters.postgres import Database
from bakeoff.errors import Refused, UsageError
from bakeoff.events import store as events
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.fingerprint import digest
from bakeoff.inference.model import PolicySpec
from bakeoff.policies import store as policies
from bakeoff.serving.decide import decide
from bakeoff.task import PythonAnswer, Request, Served
from shop import POLICY, Trial, open_shop, serve, version

TASK = toy.ToyTask()
NOBODY: Any = None  # python policies need no engines


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    database = Database(dsn, "exp")
    yield database
    database.close()


def ask(
    db: Database, key: str = "k", unit: str = "u", request: Mapping[str, Any] | None = None, task: Any = TASK
) -> Served:
    return decide(
        db, NOBODY, task, POLICY, key=key, unit_id=unit, request=request or {"likes": "coffee", "day": 1}, at=rows.at(1)
    )


def logged(db: Database, served: Served) -> dict[str, Any]:
    with db.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)
    assert row is not None
    return row


def one(db: Database, statement: str) -> Any:
    with db.transaction() as conn:
        row = conn.execute(statement.encode()).fetchone()
    assert row is not None
    return next(iter(row.values()))


# ---- once ----------------------------------------------------------------------------------------------------------


def test_a_retry_gets_the_stored_answer_though_the_policy_changed_its_mind(db: Database) -> None:
    open_shop(db, "moody", module=__name__)
    mood.append("tea")
    first = ask(db)
    mood.append("coffee")
    assert ask(db) == first
    assert first.answer == {"drink": "tea"}
    assert one(db, "select count(*) from events") == 1


mood: list[str] = []


def moody(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": mood[-1]})


def test_a_key_is_not_reused_for_another_request_or_unit(db: Database) -> None:
    open_shop(db, "good")
    ask(db)
    for other in ({"unit": "v"}, {"request": {"likes": "tea", "day": 1}}):
        with pytest.raises(UsageError, match="was used for another request"):
            ask(db, **other)


@pytest.mark.parametrize(
    "request_",
    [
        {"likes": "tea", "day": 1, "seen": ("a", "b")},
        {"likes": "tea", "day": 1, "on": rows.START},
        {"likes": "tea", "day": 1, "by": {1: "one"}},
        {"likes": "tea", "day": 1, "price": 1e16, "zero": -0.0},
    ],
    ids=lambda request: list(request)[-1],
)
def test_a_retry_is_known_by_what_the_request_says(db: Database, request_: dict[str, Any]) -> None:
    """Tuples, dates and numbers look different after a round trip through the log; they are the same request."""
    open_shop(db, "good")
    first = ask(db, request=request_)
    assert ask(db, request=request_) == first
    row = logged(db, first)
    assert digest(row["request"]) == row["request_digest"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": ""}, "needs an idempotency key"),
        ({"unit": ""}, "and a unit id"),
        ({"unit": "u\0"}, "NUL"),
        ({"request": {"likes": float("nan"), "day": 1}}, "request cannot be logged"),
        ({"request": {"likes": object(), "day": 1}}, "request cannot be logged"),
        ({"request": {"likes": "\ud800", "day": 1}}, "request cannot be logged"),
    ],
)
def test_what_cannot_be_logged_is_refused_before_anything_runs(
    db: Database, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ask(db, **wrong)


def test_a_moment_without_a_zone_is_refused(db: Database) -> None:
    with pytest.raises(UsageError, match="has no time zone"):
        decide(
            db, NOBODY, TASK, POLICY, key="k", unit_id="u", request={"likes": "tea", "day": 1},
            at=rows.START.replace(tzinfo=None),
        )  # fmt: skip


def test_two_processes_that_decide_the_same_key_give_one_answer(dsn: str) -> None:
    """Both run the policy, one writes; the other gives what was written."""
    first, second = Database(dsn, "exp"), Database(dsn, "exp")
    open_shop(first, "racing", module=__name__)
    served: list[Served] = []
    threads = [
        threading.Thread(target=lambda db=db: served.append(ask(db))) for db in (first, second)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 2, "both ran the policy"
    assert answers[0] != answers[1]
    assert len(served) == 2
    assert served[0] == served[1]
    assert one(first, "select count(*) from events") == 1
    first.close()
    second.close()


start_line = threading.Barrier(2, timeout=20)
answers: list[str] = []
lock = threading.Lock()


def racing(request: Request, *, seed: int) -> PythonAnswer:
    """Waits until the other one runs as well, and answers something else."""
    start_line.wait()
    with lock:
        answers.append(toy.DRINKS[len(answers)])
        return PythonAnswer(answer={"drink": answers[-1]})


# ---- when the policy fails ----


def test_a_failing_policy_is_answered_by_the_last_resort_and_the_log_says_so(db: Database) -> None:
    open_shop(db, "failing")
    served = ask(db)
    assert served.answer == {"drink": "tea"}
    row = logged(db, served)
    assert row["payload"]["fallback_reason"] == "RuntimeError: no answer today"
    assert row["payload"]["served_by"] == f"{POLICY}/1"
    assert row["policy_version_id"] != row["served_policy_version_id"]
    assert served.context["policy_version_id"] == str(row["policy_version_id"]), "the unit stays in its variant"


def test_an_answer_that_the_validator_mends_is_no_fallback(db: Database) -> None:
    open_shop(db, "broken")
    row = logged(db, ask(db))
    payload = row["payload"]
    assert (payload["answer"], payload["parsed_answer"]) == ({"drink": "tea"}, {"drink": "petrol"})
    assert payload["repaired"]
    assert [violation["rule"] for violation in payload["violations"]] == ["unknown_drink"]
    assert payload["fallback_reason"] is None
    assert row["served_policy_version_id"] == row["policy_version_id"]


class NoRepair(toy.ToyTask):
    def repair(self, request: Request, answer: Any, violations: Any) -> Any:
        return answer


def test_an_answer_that_cannot_be_mended_falls_back_and_stays_in_the_log(db: Database) -> None:
    open_shop(db, "broken")
    served = ask(db, task=NoRepair())
    payload = logged(db, served)["payload"]
    assert served.answer == payload["answer"] == {"drink": "tea"}
    assert payload["parsed_answer"] == {"drink": "petrol"}
    assert payload["violations"]
    assert payload["fallback_reason"] == "the answer could not be repaired"


@pytest.mark.parametrize("function", ["unjson", "nul", "absent"])
def test_an_answer_that_cannot_be_stored_never_breaks_the_product(db: Database, function: str) -> None:
    open_shop(db, function, module=__name__)
    served = ask(db)
    assert served.answer == {"drink": "tea"}
    assert logged(db, served)["payload"]["fallback_reason"]


def unjson(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": float("nan")})


def nul(request: Request, *, seed: int) -> PythonAnswer:
    raise RuntimeError("a message with a \0 in it")


def test_an_answer_looks_the_same_at_first_and_on_a_retry(db: Database) -> None:
    open_shop(db, "tupled", module=__name__)
    first = ask(db)
    assert first.answer == ask(db).answer == {"drink": "tea", "with": ["milk"]}


def tupled(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": "tea", "with": ("milk",)})


def test_a_policy_that_scribbles_on_its_request_does_not_change_the_log(db: Database) -> None:
    open_shop(db, "scribbling", module=__name__)
    request = {"likes": "tea", "day": 1, "options": ["tea"]}
    row = logged(db, ask(db, request=request))
    assert request["options"] == row["request"]["options"] == ["tea"]


def scribbling(request: Any, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": request["options"].pop()})


def test_without_a_last_resort_a_failing_policy_is_refused_and_nothing_is_logged(db: Database) -> None:
    open_shop(db, "failing", last_resort=None)
    with pytest.raises(Refused, match=r"toy_policy/1 has no answer \(RuntimeError: no answer today\)"):
        ask(db)
    assert one(db, "select count(*) from events") == 0


def test_a_last_resort_without_an_answer_is_refused(db: Database) -> None:
    open_shop(db, "failing", last_resort="broken")
    with pytest.raises(Refused, match=r"neither toy_policy/2 .* nor its last resort toy_policy/1 has an answer"):
        ask(db, task=NoRepair())


def test_a_last_resort_is_a_python_version_of_the_policy(db: Database) -> None:
    model = PolicySpec(task="toy", engine="transformers", prompt_version="1")
    with db.transaction() as conn:
        remote = policies.create_version(conn, POLICY, model, now=rows.START)
        with pytest.raises(UsageError, match="a last resort is a python policy"):
            policies.set_last_resort(conn, POLICY, remote)
        with pytest.raises(UsageError, match="a version of another policy"):
            policies.set_last_resort(conn, "other_policy", version(conn, "good"))


def test_a_policy_that_serves_nobody_says_how_to_begin(db: Database) -> None:
    with pytest.raises(UsageError, match="no default experiment"):
        ask(db)
    with db.transaction() as conn:
        version(conn, "good")
        experiments.insert_experiment(conn, policy_id=POLICY, kind="default", name="default", spec=None, now=rows.START)
    with pytest.raises(Refused, match="has no phase"):
        ask(db)


# ---- assignment ----


def test_the_explorer_answers_about_its_share_of_decisions(db: Database) -> None:
    with db.transaction() as conn:
        serve(conn, version(conn, "good"), explorer=version(conn, "drawing", __name__), bp=2500)
    served = [ask(db, key=f"k{n}", unit=f"u{n % 7}") for n in range(400)]
    with db.transaction() as conn:
        found = conn.execute(
            "select name, count(*) as n, min(assignment_probability) as p, count(distinct unit_id) as units, "
            "min(action_propensity) as chosen from events join variants using (variant_id) group by name order by name"
        ).fetchall()
    explored, usual = found
    assert (explored["name"], usual["name"]) == ("explorer", "incumbent")
    assert 60 <= explored["n"] <= 140  # 100 expected, sd 9
    assert (explored["p"], usual["p"]) == (0.25, 0.75)
    assert explored["units"] == usual["units"] == 7, "by decision, not by unit"
    assert (explored["chosen"], usual["chosen"]) == (0.5, None)
    assert len({s.decision_id for s in served}) == 400


def drawing(request: Request, *, seed: int) -> PythonAnswer:
    return PythonAnswer(answer={"drink": "tea"}, action_propensity=0.5)


def test_a_unit_meets_its_arm_once_and_the_first_meeting_is_kept(db: Database) -> None:
    trial = Trial(db)
    (treated,), (control,), (outside,) = (trial.units(arm, 1000, 1) for arm in ("treated", "control", None))
    for key in ("a", "b"):
        for unit, variant in ((treated, trial.treated), (control, trial.control)):
            assert ask(db, key=f"{key}{unit}", unit=unit).context["variant_id"] == variant
        assert ask(db, key=f"{key}{outside}", unit=outside).context["experiment_id"] != trial.ident
    with db.transaction() as conn:
        met = experiments.exposures(conn, trial.ident)
    assert {e.unit_id: e.variant_id for e in met} == {treated: trial.treated, control: trial.control}
    assert {(e.phase, e.assignment_probability, e.occurred_at) for e in met} == {(1, 0.1, rows.at(1))}


def test_a_unit_stays_in_its_arm_when_the_test_narrows(db: Database) -> None:
    trial = Trial(db)
    (unit,) = trial.units("treated", 1000, 1)
    ask(db, key="before", unit=unit)
    trial.turn(1, number=2)
    assert assign(trial.ident, unit, 1) is None, "by hash alone it would be out"
    served = ask(db, key="after", unit=unit)
    assert served.context["variant_id"] == trial.treated
    assert logged(db, served)["assignment_probability"] == 0.1
    newcomer = next(u for u in trial.units("treated", 1000, 5) if u != unit and assign(trial.ident, u, 1) is None)
    assert ask(db, key="new", unit=newcomer).context["experiment_id"] != trial.ident


def test_when_a_test_ends_its_units_go_back_at_once(db: Database) -> None:
    trial = Trial(db)
    (unit,) = trial.units("treated", 1000, 1)
    assert ask(db, key="a", unit=unit).answer == {"drink": "coffee"}
    with db.transaction() as conn:
        experiments.end(conn, trial.ident, status="rolled_back", reason="harm", now=rows.at(2))
    served = ask(db, key="b", unit=unit)
    assert served.answer == {"drink": "tea"}
    assert served.context["experiment_id"] != trial.ident


def test_a_fallback_in_a_test_stays_in_its_variant(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intention to treat: the arm whose policy fails is judged with the answers of the last resort."""
    from bakeoff.inference.python_policy import load_function

    trial = Trial(db)
    (unit,) = trial.units("treated", 1000, 1)
    monkeypatch.setattr(toy, "good", toy.failing)
    load_function.cache_clear()
    served = ask(db, unit=unit)
    load_function.cache_clear()
    assert served.answer == {"drink": "tea"}
    assert served.context["variant_id"] == trial.treated
    assert one(db, "select fell_back from event_log")


# ---- transactions ----


def test_no_transaction_is_open_while_the_policy_runs(db: Database, dsn: str) -> None:
    open_shop(db, "spying", module=__name__)
    watch["dsn"] = dsn
    ask(db)
    assert seen == ["idle"]


watch: dict[str, str] = {}
seen: list[str] = []


def spying(request: Request, *, seed: int) -> PythonAnswer:
    with psycopg.connect(watch["dsn"], autocommit=True) as other:
        states = other.execute(
            "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        ).fetchall()
    seen.extend(state for (state,) in states)
    return PythonAnswer(answer={"drink": "tea"})


def test_a_decision_costs_four_queries(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a round trip that a customer waits for."""
    open_shop(db, "good")
    sent: list[Any] = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(query)
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    ask(db)
    assert len(sent) == 4, sent
