"""Text sorts byte by byte, whatever collation the database was made with: digests and canonical orders hang on it.
On the embedded server this holds by itself; `make test-debian` runs it in a database that sorts as English does."""

import re
from pathlib import Path

import pytest

import bakeoff
import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.experiments import store as experiments
from bakeoff.policies import store as policies
from bakeoff.replay import store as replays
from bakeoff.replay.model import ReplayRow

QUERIES = sorted(Path(bakeoff.__file__).parent.rglob("*.sql"))
NAMES = ["a", "B", "_", "Z", "é", "a-b", "ab", "10", "9"]
"""In English: _, 10, 9, a, a-b, ab, B, é, Z."""


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_query_that_orders_by_text_says_how(path: Path) -> None:
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    for order in re.findall(r"order by ([^;)]+?)(?:limit|;|\)|$)", text, re.IGNORECASE):
        for term in order.split(","):
            words = term.strip().split()
            if words and re.fullmatch(r"(\w+\.)?(unit_id|need_id|example_id|policy_id|name|task|metric)", words[0]):
                assert "collate" in [word.lower() for word in words], f"{path.name}: order by {order}"


def test_units_of_a_test(scratch: Connection) -> None:
    shop = rows.Shop(scratch)
    for n, name in enumerate(NAMES):
        rows.insert(
            scratch, "exposures", experiment_id=shop.test, unit_id=name, variant_id=shop.control,
            policy_version_id=shop.first, phase=1, bucket=n, assignment_probability=0.5, hash_version="hv1",
            occurred_at=rows.at(1),
        )  # fmt: skip
    assert [e.unit_id for e in experiments.exposures(scratch, shop.test)] == sorted(NAMES)


def test_policies(scratch: Connection) -> None:
    for name in NAMES:
        rows.policy(scratch, name)
    assert [p.policy_id for p in policies.all_policies(scratch)] == sorted(NAMES)


def test_rows_of_a_replay(scratch: Connection) -> None:
    """A gate adds them up in this order: another order would be another last digit, and another digest."""
    shop = rows.Shop(scratch)
    ident = replays.open_replay(
        scratch, policy_version_id=shop.first, fingerprint=rows.fingerprint(1), dataset_digest=rows.dataset(scratch),
        selection={}, engine={}, now=rows.START,
    )  # fmt: skip
    for name in NAMES:
        row = ReplayRow(
            example_id=name, unit_id="u", raw_answer="", parsed_answer=None, answer=None, violations=(), metrics={},
            prompt_tokens=0, completion_tokens=0, latency_s=0.0, cost=0.0,
        )  # fmt: skip
        replays.insert_row(scratch, ident, row)
    assert [row.example_id for row in replays.rows(scratch, ident)] == sorted(NAMES)
