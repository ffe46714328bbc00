"""Signatures: who signed what, and what cannot be signed."""

from dataclasses import replace

import pytest

import rows
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.model import PolicySpec, external_spec
from bakeoff.policies.approve import VALID_FOR, adopt, approve
from bakeoff.policies.model import Approval, PolicyVersion, policy_version_id

SPEC = PolicySpec(task="toy", engine="python", prompt_version="1", function="toy:good", function_version="1")
VERSION = PolicyVersion(
    policy_version_id=policy_version_id("p", SPEC.fingerprint), policy_id="p", version=2, spec=SPEC,
    fingerprint=SPEC.fingerprint, status="candidate",
)  # fmt: skip


def signed(**change: str) -> Approval:
    values = {
        "report_digest": "sha256:r", "report_verdict": "PASS", "report_fingerprint": SPEC.fingerprint,
        "signed_by": "Grace", "note": "read the table",
    }  # fmt: skip
    return approve(VERSION, now=rows.START, **{**values, **change})


def test_a_signature_covers_one_report_and_one_spec_for_thirty_days() -> None:
    made = signed()
    assert (made.kind, made.report_digest, made.fingerprint) == ("signed", "sha256:r", SPEC.fingerprint)
    assert made.expires_at == rows.START + VALID_FOR == rows.at(30)
    assert signed() == made
    assert signed(report_digest="sha256:s").approval_id != made.approval_id


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_only_pass_is_signed(verdict: str) -> None:
    with pytest.raises(Refused, match=f"says {verdict}; only PASS"):
        signed(report_verdict=verdict)


def test_a_report_on_another_spec_is_not_signed() -> None:
    with pytest.raises(
        Refused, match=r"judged sha256:other, p/2 is sha256:(.|\n)*run the gate again: bakeoff gate p/2"
    ):
        signed(report_fingerprint="sha256:other")


@pytest.mark.parametrize("missing", [{"signed_by": " "}, {"note": ""}])
def test_nobody_signs_without_a_name_and_a_note(missing: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="needs a name and a note"):
        signed(**missing)


def test_an_adoption_does_not_expire_and_needs_a_version_that_is_not_under_test() -> None:
    adopted = adopt(replace(VERSION, status="registered"), signed_by="Ada", reason="it serves", now=rows.START)
    assert (adopted.kind, adopted.report_digest, adopted.expires_at) == ("adopted", None, None)
    for status in ("candidate", "approved", "retired", "rejected"):
        with pytest.raises(Refused, match=f"p/2 is {status}"):
            adopt(replace(VERSION, status=status), signed_by="Ada", reason="it serves", now=rows.START)  # type: ignore[arg-type]


EXTERNAL = replace(VERSION, status="registered", spec=external_spec("toy", "toy 2024"))


def test_the_application_itself_is_adopted_today_for_what_it_did_since_a_day() -> None:
    made = adopt(EXTERNAL, signed_by="Ada", reason="what we have", now=rows.at(9), covers_from=rows.START)
    assert (made.kind, made.signed_at, made.covers_from, made.expires_at) == ("adopted", rows.at(9), rows.START, None)
    assert adopt(EXTERNAL, signed_by="Ada", reason="x", now=rows.at(9), covers_from=rows.at(9)).covers_from


def test_a_past_is_not_in_the_future_and_belongs_to_the_application_only() -> None:
    with pytest.raises(UsageError, match="lies in the future"):
        adopt(EXTERNAL, signed_by="Ada", reason="x", now=rows.START, covers_from=rows.at(1))
    with pytest.raises(UsageError, match="did not serve before it was adopted"):
        adopt(
            replace(VERSION, status="registered"), signed_by="Ada", reason="x", now=rows.at(9), covers_from=rows.START
        )


def test_an_external_version_says_what_answers() -> None:
    assert EXTERNAL.is_external
    assert EXTERNAL.what == "the application itself (toy 2024)"
    assert (VERSION.is_external, VERSION.what) == (False, "toy:good")
