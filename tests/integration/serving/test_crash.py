"""kill -9 in the middle of a decision: nothing is half-written, and the same key again completes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rows
import toy
from bakeoff.adapters.postgres import Database
from bakeoff.experiments import store as experiments
from bakeoff.inference.model import PolicySpec
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.serving.decide import decide

TESTS = Path(__file__).parents[2]
CHILD = """
import os, signal, sys
sys.path[:0] = {paths!r}
import rows, toy
from bakeoff.adapters.postgres import Database
from bakeoff.serving import decide as serving

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

moment = {moment!r}
if moment == "between":
    serving.decision = die  # the policy has answered, nothing is written yet
elif moment == "before commit":
    append = serving.events.append_decision
    serving.events.append_decision = lambda *a, **k: (append(*a, **k), die())
serving.decide(Database({dsn!r}, "exp"), None, toy.ToyTask(), "toy_policy", key="k", unit_id="u",
               request={{"likes": "tea", "day": 1}}, at=rows.at(1))
"""


@pytest.mark.parametrize("moment", ["between", "before commit"])
def test_a_killed_decision_leaves_nothing_and_is_completed_by_a_retry(dsn: str, moment: str) -> None:
    db = Database(dsn, "exp")
    with db.transaction() as conn:
        spec = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")
        version = policies.create_version(conn, "toy_policy", spec, now=rows.START)
        policies.insert_approval(conn, adopt(version, signed_by="Ada", reason="it serves", now=rows.START))
        experiments.open_default(
            conn, policy_id="toy_policy", incumbent=version.policy_version_id, explorer=None, explorer_bp=0,
            now=rows.START,
        )  # fmt: skip
    child = CHILD.format(paths=[str(TESTS), *sys.path], dsn=dsn, moment=moment)
    ended = subprocess.run([sys.executable, "-c", child], timeout=60, check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    counted = "select (select count(*) from events) + (select count(*) from requests) as n"
    with db.transaction() as conn:
        assert conn.execute(counted).fetchone() == {"n": 0}
    served = decide(
        db,
        None,
        toy.ToyTask(),
        "toy_policy",
        key="k",
        unit_id="u",
        request={"likes": "tea", "day": 1},
        at=rows.at(1),  # type: ignore[arg-type]
    )
    assert served.answer == {"drink": "tea"}
    with db.transaction() as conn:
        assert conn.execute(counted).fetchone() == {"n": 2}
    db.close()
