"""Numbered versions in a real PostgreSQL: one spec is one version, numbers have no gaps, fingerprints survive."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rows
from bakeoff.adapters.postgres import Connection, Database
from bakeoff.errors import UsageError
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price
from bakeoff.policies import store
from bakeoff.policies.approve import adopt, reject


def spec(function: str = "toy:good", **other: object) -> PolicySpec:
    return PolicySpec(
        task="toy",
        engine="python",
        prompt_version="1",
        function=function,
        function_version="1",
        **other,  # type: ignore[arg-type]
    )


def create(conn: Connection, made: PolicySpec, policy_id: str = "p", **other: str) -> store.PolicyVersion:
    return store.create_version(conn, policy_id, made, now=rows.START, **other)


def test_versions_are_numbered_and_the_same_spec_is_the_same_version(scratch: Connection) -> None:
    first, second, again = (create(scratch, spec(f)) for f in ("toy:good", "toy:stubborn", "toy:good"))
    assert [first.name, second.name] == ["p/1", "p/2"]
    assert again == first
    assert store.versions(scratch, "p") == [first, second]
    assert create(scratch, spec(), "q").name == "q/1"
    assert store.find_version(scratch, "p/2") == second
    assert store.version_by_id(scratch, first.policy_version_id) == first


def test_two_processes_that_register_at_once_get_two_numbers(dsn: str) -> None:
    first, second = Database(dsn, "exp"), Database(dsn, "exp")
    made: dict[str, store.PolicyVersion] = {}
    ready = threading.Barrier(2, timeout=20)

    def register(db: Database, function: str) -> None:
        ready.wait()
        with db.transaction() as conn:
            made[function] = create(conn, spec(function))

    with first.transaction() as conn:  # the slower of two must wait for the number of the faster
        create(conn, spec("toy:equal"))
        waiting = threading.Thread(target=register, args=(second, "toy:good"))
        waiting.start()
        ready.wait()
        waiting.join(0.3)
        assert waiting.is_alive(), "it waits for the number"
    waiting.join(20)
    threads = [
        threading.Thread(target=register, args=pair) for pair in ((first, "toy:stubborn"), (second, "toy:broken"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert made["toy:good"].version == 2
    assert sorted(version.version for version in made.values()) == [2, 3, 4]
    first.close()
    second.close()


def test_two_processes_that_register_one_spec_get_one_version(dsn: str) -> None:
    made = []

    def register() -> None:
        db = Database(dsn, "exp")
        with db.transaction() as conn:
            made.append(create(conn, spec()))
        db.close()

    threads = [threading.Thread(target=register) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 3
    assert made[0] == made[1] == made[2]


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
MODELS = st.builds(ModelRef, base=NAMES, base_digest=NAMES, adapter=st.none() | NAMES, adapter_digest=st.none() | NAMES)
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.integers(0, 10**18)
SPECS = st.builds(
    PolicySpec,
    task=st.just("toy"),
    engine=st.sampled_from(["transformers", "python", "logged"]),
    prompt_version=NAMES,
    model=st.none() | MODELS,
    dtype=st.sampled_from([None, "float32", "bfloat16"]),
    decoding=st.none() | st.builds(Decoding, mode=st.sampled_from(["greedy", "choices"]), max_tokens=st.integers(1)),
    function=st.none() | NAMES,
    function_version=st.none() | NAMES,
    seed=st.integers(),
    price=st.builds(Price, per_million_prompt_tokens=NUMBERS, per_million_completion_tokens=NUMBERS, currency=NAMES),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(made=SPECS)
def test_a_spec_comes_back_as_it_was_with_its_fingerprint(scratch: Connection, made: PolicySpec) -> None:
    version = create(scratch, made, rows.new_id())  # a policy of its own: where an adapter lies is no other version
    assert version.spec == made
    assert version.spec.fingerprint == version.fingerprint == made.fingerprint


def test_two_spellings_of_a_price_are_one_spec(scratch: Connection) -> None:
    one, other = (create(scratch, spec(price=Price(per_million_prompt_tokens=price))) for price in (2, 2.0))
    assert one == other


def test_where_an_adapter_lies_is_not_what_it_is(scratch: Connection) -> None:
    def tuned(place: str, digest: str) -> PolicySpec:
        model = ModelRef(base="b", base_digest="d", adapter=place, adapter_digest=digest)
        return PolicySpec(task="toy", engine="transformers", prompt_version="1", model=model)

    here, moved, other = (create(scratch, tuned(*x)) for x in (("/a", "1"), ("/b", "1"), ("/a", "2")))
    assert here == moved
    assert other.version == 2


def test_a_policy_belongs_to_one_task(scratch: Connection) -> None:
    create(scratch, spec())
    with pytest.raises(UsageError, match="p is a policy of task toy, this spec is for task planner"):
        create(scratch, PolicySpec(task="planner", engine="python", prompt_version="1", function="f:f"))


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_policy_name_can_be_typed(scratch: Connection, name: str) -> None:
    with pytest.raises(UsageError, match="policy name"):
        create(scratch, spec(), name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q/1", "no policy 'q'; known: p"),
        ("p", "'p' is not a policy version(.|\n)*p/1"),
        ("p/x", "'p/x' is not a policy version"),
        ("p/²", "'p/²' is not a policy version"),
        ("p/9", "no policy version p/9; known: p/1"),
        ("p/99999999999999999999", "no policy version p/9999"),
    ],
)
def test_a_wrong_name_is_answered_with_the_known_ones(scratch: Connection, name: str, message: str) -> None:
    create(scratch, spec())
    with pytest.raises(UsageError, match=message):
        store.find_version(scratch, name)


def test_an_unknown_id_is_refused(scratch: Connection) -> None:
    with pytest.raises(UsageError, match="no policy version with id"):
        store.version_by_id(scratch, rows.new_id())


def test_a_voided_approval_is_not_the_live_one(scratch: Connection) -> None:
    version = create(scratch, spec())
    assert store.live_approval(scratch, version.policy_version_id) is None
    given_ = adopt(version, signed_by="Ada", reason="it serves", now=rows.START)
    store.insert_approval(scratch, given_)
    assert store.live_approval(scratch, version.policy_version_id) == given_
    store.void_approval(scratch, version.policy_version_id, now=rows.at(1), reason="wrong")
    assert store.live_approval(scratch, version.policy_version_id) is None
    store.void_approval(scratch, version.policy_version_id, now=rows.at(2), reason="again")  # nothing to void


def test_the_same_status_again_is_nothing(scratch: Connection) -> None:
    version = create(scratch, spec())
    store.insert_approval(scratch, adopt(version, signed_by="Ada", reason="it serves", now=rows.START))
    store.set_status(scratch, version, "approved")
    store.set_status(scratch, version, "approved")
    assert store.version_by_id(scratch, version.policy_version_id).status == "approved"


def test_an_approved_version_is_a_candidate_again_when_its_approval_ends(scratch: Connection) -> None:
    version = create(scratch, spec())
    store.insert_approval(scratch, adopt(version, signed_by="Ada", reason="it serves", now=rows.START))
    store.void_approval(scratch, version.policy_version_id, now=rows.at(1), reason="the rules changed")
    assert store.version_by_id(scratch, version.policy_version_id).status == "candidate"
    voided = store.last_voided(scratch, version.policy_version_id)
    assert voided is not None
    assert (voided.signed_by, voided.voided_at, voided.reason) == ("Ada", rows.at(1), "the rules changed")


def test_a_rejection_is_kept_with_its_reason_and_ends_the_approval(scratch: Connection) -> None:
    version = create(scratch, spec())
    report = rows.report(scratch, version.policy_version_id, 0, fingerprint=version.fingerprint)
    store.insert_approval(scratch, adopt(version, signed_by="Ada", reason="it serves", now=rows.START))
    given = reject(version, report_digest=report, rejected_by="Grace", reason="five soups", now=rows.at(1))
    assert store.find_rejection(scratch, version.policy_version_id) is None
    store.insert_rejection(scratch, given)
    assert store.find_rejection(scratch, version.policy_version_id) == given
    assert store.live_approval(scratch, version.policy_version_id) is None
    assert store.version_by_id(scratch, version.policy_version_id).status == "rejected"
    voided = store.last_voided(scratch, version.policy_version_id)
    assert voided is not None
    assert voided.reason == "rejected: five soups"


def test_who_owns_the_tables_stands_above_the_rules(scratch: Connection) -> None:
    assert store.is_advisory(scratch)
