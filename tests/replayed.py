"""What tests of replay share: the dataset of a fickle shop, made without a log, and versions of its policy."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import fickle
import rows
import stages
import toy
from bakeoff import lifecycle
from bakeoff.datasets import store as datasets
from bakeoff.datasets.model import Dataset, Split
from bakeoff.datasets.publish import publish
from bakeoff.events.canonical import canonical_bytes
from bakeoff.fingerprint import digest
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.lifecycle import Deps
from bakeoff.policies.model import PolicyVersion
from bakeoff.replay import store as replays
from bakeoff.replay.model import ReplayReport
from bakeoff.task import Episode, LoggedEvent, Role

TASK = fickle.Shop()
EVEN = {Split.TRAIN: 4000, Split.VALIDATION: 2000, Split.TEST: 4000}


def episode(n: int) -> Episode:
    """Somebody was offered tea and took what they like."""
    drink = toy.DRINKS[n % 2]
    shared = {
        "unit_id": f"u{n}", "decision_id": f"d{n:03d}", "experiment_id": "x", "variant_id": "v",
        "policy_version_id": "p",
    }  # fmt: skip
    made = LoggedEvent(
        event_id=f"d{n:03d}", event_type="offered", role=Role.DECISION, occurred_at=rows.at(1),
        served_policy_version_id="p", payload={"answer": {"drink": "tea"}}, **shared,
    )  # fmt: skip
    liked = LoggedEvent(
        event_id=f"o{n:03d}", event_type="accepted", role=Role.ACCEPT, occurred_at=rows.at(1.1),
        served_policy_version_id=None, payload={"accepted_by": "user", "drink": drink}, **shared,
    )  # fmt: skip
    request = {"likes": drink, "day": n}
    return Episode(
        need_id=str(n),
        unit_id=f"u{n}",
        request=request,
        request_digest=digest(request),
        decisions=(made,),
        outcomes=(liked,),
    )


def stored(many: int) -> list[tuple[Episode, bytes]]:
    made = [episode(n) for n in range(many)]
    return [(each, canonical_bytes(each.request)) for each in made]


def shop_dataset(deps: Deps, many: int = 150, *, days: float = 2) -> Dataset:
    """Written and recorded; `days` is how long its window is."""
    since = rows.at(0)
    written = publish(
        deps.datasets_root, TASK, stored(many), since=since, until=since + timedelta(days=days), shares=EVEN
    )
    with deps.db.transaction() as conn:
        datasets.insert(conn, written, mlflow_run_id=None, created_at=rows.at(2))
    return written


def python_version(deps: Deps, function: str, module: str = "fickle", **more: Any) -> PolicyVersion:
    spec = PolicySpec(
        task="toy", engine="python", prompt_version="1", function=f"{module}:{function}", function_version="1", **more
    )
    return lifecycle.create_policy(deps, stages.POLICY, spec)


def model_version(deps: Deps, base: Path, **more: Any) -> PolicyVersion:
    """A tiny untuned model."""
    shared = {"dtype": "float32", "decoding": Decoding(mode="choices"), **more}
    reference = ModelRef(base=str(base), base_digest=deps.bases.resolve(str(base)).digest)
    spec = PolicySpec(task="toy", engine="transformers", prompt_version="1", model=reference, **shared)
    return lifecycle.create_policy(deps, stages.POLICY, spec)


def said(deps: Deps, version: PolicyVersion, report: ReplayReport) -> dict[str, Any]:
    """All that a model said in a replay, with its log-probabilities to the last bit, by example."""
    with deps.db.transaction() as conn:
        kept = replays.kept_answers(
            conn,
            fingerprint=version.fingerprint,
            engine_digest=digest(report.engine),
            prompt_digests=[str(row.prompt_digest) for row in replays.rows(conn, report.replay_id)],
        )
    return {prompt: (each.text, str(each.choices), each.model_steps) for (prompt, _), each in kept.items()}
