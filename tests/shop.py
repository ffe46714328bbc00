"""A shop for the toy task on a real database, for tests of serving: who serves, and a test that is running."""

from collections.abc import Callable, Mapping
from typing import Any

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.experiments import store as experiments
from bakeoff.experiments.assign import assign
from bakeoff.inference.model import PolicySpec, Price
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.apply import apply_database
from bakeoff.promotion.plan import plan_promotion, plan_rollback
from bakeoff.serving.model import Transactions
from bakeoff.task import Completion

POLICY = "toy_policy"


def version(conn: Connection, function: str, module: str = "toy") -> PolicyVersion:
    spec = PolicySpec(
        task="toy", engine="python", prompt_version="1", function=f"{module}:{function}", function_version="1"
    )
    return policies.create_version(conn, POLICY, spec, now=rows.START)


def serve(
    conn: Connection, incumbent: PolicyVersion, *, explorer: PolicyVersion | None = None, bp: int = 0,
    last_resort: PolicyVersion | None = None,
) -> None:  # fmt: skip
    for each in (incumbent, explorer):
        if each is not None:
            policies.insert_approval(conn, adopt(each, signed_by="Ada", reason="it serves", now=rows.START))
    if last_resort is not None:
        policies.set_last_resort(conn, POLICY, last_resort)
    experiments.open_default(
        conn,
        policy_id=POLICY,
        incumbent=incumbent.policy_version_id,
        explorer=explorer.policy_version_id if explorer else None,
        explorer_bp=bp,
        now=rows.START,
    )


def open_shop(db: Transactions, function: str, *, last_resort: str | None = "stubborn", module: str = "toy") -> None:
    with db.transaction() as conn:
        resort = version(conn, last_resort) if last_resort else None
        serve(conn, version(conn, function, module), last_resort=resort)


def model(conn: Connection, name: str, **price: float) -> PolicyVersion:
    """A version that a `Machine` answers as `name` says."""
    spec = PolicySpec(task="toy", engine="transformers", prompt_version=name, price=Price(**price))
    return policies.create_version(conn, POLICY, spec, now=rows.START)


class Machine:
    """Engines whose answers, and whose loads, are functions of the test, by name."""

    def __init__(self, **answers: Callable[[float], str]) -> None:
        """Name -> gets the seconds that it has, gives a drink."""
        self.answers, self.loads = answers, dict[str, Callable[[], object]]()
        self.opened: list[str] = []
        self.released: list[str] = []

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> "_Machine":
        self.loads.get(spec.prompt_version, lambda: None)()
        self.opened.append(spec.prompt_version)
        return _Machine(self.answers[spec.prompt_version])

    def release(self, spec: PolicySpec) -> None:
        self.released.append(spec.prompt_version)


class _Machine:
    def __init__(self, answer: Callable[[float], str]) -> None:
        self._answer = answer

    def complete(self, messages: Any, *, schema: Any, decoding: Any, deadline_s: float | None = None) -> Completion:
        assert deadline_s is not None
        return Completion(text=self._answer(deadline_s), prompt_tokens=1000, completion_tokens=500)

    def describe(self) -> Mapping[str, Any]:
        return {}


def open_with_model(db: Transactions, name: str, **price: float) -> None:
    """A model serves everyone, 'stubborn' is the last resort."""
    with db.transaction() as conn:
        resort = version(conn, "stubborn")
        serve(conn, model(conn, name, **price), last_resort=resort)


class Trial:
    """A test of 'good', or of a model, against 'stubborn', which serves everyone else."""

    def __init__(
        self, db: Transactions, bp: int = 1000, *, treated: str = "good", by_model: bool = False, begins: bool = True
    ) -> None:
        self.db, self.bp = db, bp
        with db.transaction() as conn:
            self.old = old = version(conn, "stubborn")
            self.new = new = model(conn, treated) if by_model else version(conn, treated)
            serve(conn, old, last_resort=old)
            judged = rows.report(
                conn, new.policy_version_id, 0, fingerprint=new.fingerprint, incumbent_version_id=old.policy_version_id
            )
            rows.approval(conn, new.policy_version_id, 0, fingerprint=new.fingerprint, report_digest=judged)
            self.ident = rows.experiment(conn, policy_id=POLICY)
            self.control = rows.variant(conn, self.ident, "control", old.policy_version_id)
            self.treated = rows.variant(conn, self.ident, "treated", new.policy_version_id)
        if begins:
            self.begin()

    def begin(self) -> None:
        with self.db.transaction() as conn:
            rows.phase(conn, self.ident, self.control, self.treated, 0, treated_bp=self.bp)
            experiments.set_running(conn, self.ident, now=rows.START)

    def promote(self) -> None:
        """The treated version won, and serves everyone from now on."""
        with self.db.transaction() as conn:
            policies.set_status(conn, self.old, "production")
            ship = rows.snapshot(conn, self.ident, 1, verdict="ship")
            new, old = (policies.version_by_id(conn, each.policy_version_id) for each in (self.new, self.old))
            plan = plan_promotion(new, old, experiment_id=self.ident, snapshot_id=ship, verdict="ship")
            apply_database(conn, plan, signed_by="Grace", reason="it won", now=rows.at(1))
            experiments.end(conn, self.ident, status="shipped", reason="it won", now=rows.at(1))

    def roll_back(self) -> None:
        """What served before the promotion serves everyone again."""
        with self.db.transaction() as conn:
            old, new = (policies.version_by_id(conn, each.policy_version_id) for each in (self.old, self.new))
            apply_database(conn, plan_rollback(old, new), signed_by="Grace", reason="harm", now=rows.at(1))

    def turn(self, bp: int, number: int) -> None:
        with self.db.transaction() as conn:
            evidence = rows.snapshot(
                conn, self.ident, number, phase_number=number - 1, analysis={"advice": {"next_treated_bp": 5000}}
            )
            rows.phase(
                conn, self.ident, self.control, self.treated, number, number=number, treated_bp=bp,
                snapshot_id=evidence,
            )  # fmt: skip

    def units(self, arm: str | None, bp: int, count: int) -> list[str]:
        found = []
        for n in range(20_000):
            drawn = assign(self.ident, f"u{n}", bp)
            if (drawn.arm if drawn else None) == arm:
                found.append(f"u{n}")
            if len(found) == count:
                break
        return found
