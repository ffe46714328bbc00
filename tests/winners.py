"""A policy whose version 2 has won its test, written row by row, so that promotion needs no life before."""

import uuid
from pathlib import Path

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.experiments import store as experiments
from bakeoff.inference.model import PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.approve import adopt
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion.apply import apply_database
from bakeoff.promotion.model import PromotionPlan
from bakeoff.promotion.plan import Holdback, plan_promotion
from bakeoff.registry.bundle import folder_digest
from bakeoff.registry.model import DIGEST_TAG

POLICY = "p"


def version(conn: Connection, function: str, **model: str) -> PolicyVersion:
    spec = PolicySpec(task="toy", engine="python", prompt_version="1", function=f"toy:{function}", function_version="1")
    return policies.create_version(conn, POLICY, spec, now=rows.START, **model)


def two_models(deps: Deps, folder: Path) -> str:
    """Name of a model with versions 1 and 2 in the real MLflow of the tests."""
    name = f"toy_model_{uuid.uuid4().hex[:8]}"
    run_id = deps.tracker.start_run("by hand", {}, {"task": "toy"})
    for number in ("1", "2"):
        bundle = folder / f"bundle-{number}"
        bundle.mkdir()
        (bundle / "weights.txt").write_text(number)
        made = deps.models.register(name, run_id, bundle, {DIGEST_TAG: folder_digest(bundle)})
        assert made.version == number
    return name


class Won:
    """Version 1 serves everyone, version 2 (a registered model) won its test."""

    def __init__(self, conn: Connection, model: str = "toy_model", numbers: tuple[str, str] = ("6", "7")) -> None:
        self.conn = conn
        self.old = version(conn, "stubborn", mlflow_model_name=model, mlflow_model_version=numbers[0])
        policies.insert_approval(conn, adopt(self.old, signed_by="Ada", reason="it serves", now=rows.START))
        for status in ("approved", "production"):
            policies.set_status(conn, self.old, status)  # type: ignore[arg-type]
        experiments.open_default(
            conn, policy_id=POLICY, incumbent=self.old.policy_version_id, explorer=None, explorer_bp=0, now=rows.START
        )
        self.new = version(conn, "good", mlflow_model_name=model, mlflow_model_version=numbers[1])
        judged = rows.report(
            conn, self.new.policy_version_id, 0, fingerprint=self.new.fingerprint,
            incumbent_version_id=self.old.policy_version_id,
        )  # fmt: skip
        rows.approval(
            conn, self.new.policy_version_id, 0, fingerprint=self.new.fingerprint, report_digest=judged
        )  # fmt: skip
        policies.set_status(conn, self.new, "approved")
        self.test = rows.experiment(conn, policy_id=POLICY)
        control = rows.variant(conn, self.test, "control", self.old.policy_version_id)
        treated = rows.variant(conn, self.test, "treated", self.new.policy_version_id)
        rows.phase(conn, self.test, control, treated, 1)
        experiments.set_running(conn, self.test, now=rows.at(1))
        self.ship = rows.snapshot(conn, self.test, 5, verdict="ship")

    def plan(self, holdback: Holdback | None = None) -> PromotionPlan:
        return plan_promotion(
            self.fresh(self.new), self.fresh(self.old), experiment_id=self.test, snapshot_id=self.ship, verdict="ship",
            holdback=holdback,
        )  # fmt: skip

    def fresh(self, version: PolicyVersion) -> PolicyVersion:
        return policies.version_by_id(self.conn, version.policy_version_id)

    def apply(self, plan: PromotionPlan, day: float = 6) -> bool:
        return apply_database(self.conn, plan, signed_by="Grace", reason="it won", now=rows.at(day))

    def serving(self) -> str:
        return experiments.incumbent(self.conn, POLICY)
