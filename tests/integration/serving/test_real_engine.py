"""A small but real model behind a service: MLflow is away, and nobody notices."""

import shutil
from pathlib import Path

import rows
import shop
import stages
import teachable
import tiny
from bakeoff.adapters.generation.weights import base_digest
from bakeoff.adapters.postgres import Pool
from bakeoff.bootstrap import open_deps
from bakeoff.events import store as events
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.policies import store as policies
from bakeoff.serving.service import Service
from bakeoff.settings import Settings
from bakeoff.training.model import TrainSpec
from bakeoff.training.recipes.lora_sft import train

TASK = teachable.Teachable()
REQUEST = {"likes": "coffee", "day": 1}
NOWHERE = "http://127.0.0.1:9"


def adapted(base: Path, out: Path) -> ModelRef:
    """A model with an adapter that the registry calls toy_model/1."""
    row = tiny.row("Likes coffee.", ["drink"], {"drink": '"yes"'})
    spec = TrainSpec(
        task="toy", dataset_digest="d", base="tiny", base_digest=base_digest(base), prompt_version="1",
        dtype="float32", lora_layers=1, epochs=1,
    )  # fmt: skip
    made = train(spec, [row], base_dir=base, out_dir=out, threads=1)
    return ModelRef(
        base=str(base), base_digest=base_digest(base), adapter="models:/toy_model/1",
        adapter_digest=made.adapter_digest,
    )  # fmt: skip


def test_a_model_that_is_on_this_machine_serves_while_mlflow_is_away(dsn: str, tmp_path: Path) -> None:
    home, base = tmp_path / "home", tiny.write_model(tmp_path / "base")
    model = adapted(base, tmp_path / "made")
    settings = Settings(home=home, database_url=dsn, mlflow_tracking_uri=NOWHERE, dtype="float32", threads=1)
    spec = PolicySpec(
        task="toy", engine="transformers", prompt_version="1", model=model, dtype="float32",
        decoding=Decoding(mode="choices"),
    )  # fmt: skip
    pool = Pool(dsn, "exp", size=2)
    with pool.transaction() as conn:
        resort = shop.version(conn, "stubborn")
        shop.serve(conn, policies.create_version(conn, shop.POLICY, spec, now=rows.START), last_resort=resort)
    shutil.copytree(tmp_path / "made", home / "adapters" / "toy_model-1" / "adapter")  # an earlier download
    with open_deps(settings, progress=stages.Silent()) as deps:
        service = Service(pool, deps.engines, lambda _: TASK, clock=lambda: rows.at(1))
        service.start()
        assert service.readiness().missing == ()
        served = service.decide(shop.POLICY, key="k", unit_id="u", request=REQUEST)
        service.stop()
    with pool.transaction() as conn:
        row = events.find_decision(conn, served.decision_id)
    pool.close()
    assert row is not None
    assert row["payload"]["fallback_reason"] is None
    assert row["payload"]["model_steps"] == 1
    assert served.answer["drink"] in ("tea", "coffee")


def test_a_model_that_is_not_on_this_machine_is_named_and_the_last_resort_answers(dsn: str, tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "base")
    model = ModelRef(base=str(base), base_digest=base_digest(base), adapter=str(tmp_path / "gone"), adapter_digest="d")
    spec = PolicySpec(task="toy", engine="transformers", prompt_version="1", model=model, dtype="float32")
    pool = Pool(dsn, "exp", size=2)
    with pool.transaction() as conn:
        resort = shop.version(conn, "stubborn")
        shop.serve(conn, policies.create_version(conn, shop.POLICY, spec, now=rows.START), last_resort=resort)
    settings = Settings(
        home=tmp_path / "home", database_url=dsn, mlflow_tracking_uri=NOWHERE, dtype="float32", threads=1
    )
    with open_deps(settings, progress=stages.Silent()) as deps:
        service = Service(pool, deps.engines, lambda _: TASK, clock=lambda: rows.at(1))
        service.start()
        found = service.readiness()
        assert not found.ready
        assert "toy_policy/2: " in found.missing[0]
        assert service.decide(shop.POLICY, key="k", unit_id="u", request=REQUEST).answer == {"drink": "tea"}
        service.stop()
    pool.close()
