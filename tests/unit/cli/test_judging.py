"""The gate's table, and which rows a sample prefers."""

from bakeoff.cli.replaying import compared
from bakeoff.cli.verdicts import gate_text
from bakeoff.gates.judge import judge
from bakeoff.gates.model import Absolute, Gate, NonInferior, PairedRow
from bakeoff.inference.model import PolicySpec
from bakeoff.policies.model import PolicyVersion
from bakeoff.task import Metric

METRICS = (Metric(name="right", unit="share", direction="higher", low=0.0, high=1.0, meaning="right"),)
RULES = Gate(
    name="toy", rules=(NonInferior(metric="right", margin=0.1), Absolute(metric="floor", column="right", minimum=0.5))
)


def version(number: int) -> PolicyVersion:
    spec = PolicySpec(task="toy", engine="python", prompt_version="1", seed=number)
    return PolicyVersion(
        policy_version_id=str(number), policy_id="toy_policy", version=number, spec=spec, fingerprint=f"f{number}",
        status="registered",
    )  # fmt: skip


def text(rows: int, ours: float) -> str:
    paired = [
        PairedRow(
            example_id=str(n),
            unit_id=str(n),
            neutral=True,
            candidate={"right": ours},
            incumbent={"right": float(n % 2)},
        )
        for n in range(rows)
    ]
    return gate_text(version(2), RULES, judge(RULES, METRICS, paired, subject={}))


def test_a_pass_is_followed_by_the_signature_to_type() -> None:
    said = text(rows=100, ours=1.0)
    assert "verdict: PASS" in said
    assert "bakeoff approve toy_policy/2 --report sha256:" in said
    assert "above -0.1" in said
    assert "at least 0.5" in said


def test_too_little_evidence_says_what_is_missing_and_offers_no_signature() -> None:
    said = text(rows=10, ours=1.0)
    assert "verdict: INCONCLUSIVE" in said
    assert "30 are needed, about 20 more" in said
    assert "bakeoff approve" not in said


def test_only_a_sample_has_to_know_who_is_compared() -> None:
    one, two = version(1), version(2)
    assert compared(None, two, one) == ()
    assert compared(80, two, one) == (two, one)
    assert compared(80, one, one) == (one,)
    assert compared(80, one, None) == (one,)
