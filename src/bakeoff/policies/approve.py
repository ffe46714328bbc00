"""Who may get traffic: a signature on evidence, or an adoption with a reason."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from bakeoff.errors import Refused, UsageError
from bakeoff.policies.model import NAMESPACE, Approval, PolicyVersion, Rejection

VALID_FOR = timedelta(days=30)
"""How long a signature opens the way to new phases; afterwards the evidence is stale."""


def approve(
    version: PolicyVersion,
    *,
    report_digest: str,
    report_verdict: str,
    report_fingerprint: str,
    signed_by: str,
    note: str,
    now: datetime,
    covers: Mapping[str, str] | None = None,
) -> Approval:
    """A person's signature on one gate report; `covers` are the digests of what it judged, see `cover`. Raises
    Refused where the report does not say PASS, judged another spec, or where the version is past signing;
    UsageError where name or note are missing."""
    _check_open(version, "approved")
    if report_verdict != "PASS":
        raise Refused(f"report {report_digest} says {report_verdict}; only PASS can be approved")
    if report_fingerprint != version.fingerprint:
        raise Refused(
            f"report {report_digest} judged {report_fingerprint}, {version.name} is {version.fingerprint}",
            cure=f"run the gate again: bakeoff gate {version.name}",
        )
    return replace(
        _approval(version, "signed", report_digest, signed_by, note, now, now + VALID_FOR),
        covers=None if covers is None else dict(covers),
    )


def reject(version: PolicyVersion, *, report_digest: str, rejected_by: str, reason: str, now: datetime) -> Rejection:
    """A person turns a version down, whatever its report says. Raises Refused where it is past that, UsageError where
    name or reason are missing."""
    _check_open(version, "rejected")
    if not rejected_by.strip() or not reason.strip():
        raise UsageError(
            "a rejection needs a name and a reason", cure='add --by "Your Name" --reason "what is wrong with it"'
        )
    return Rejection(
        rejection_id=str(uuid.uuid5(NAMESPACE, f"{version.policy_version_id}|rejected")),
        policy_version_id=version.policy_version_id,
        report_digest=report_digest,
        rejected_by=rejected_by,
        reason=reason,
        rejected_at=now,
    )


_CLOSED = {
    "production": "serves everyone; bakeoff rollback goes back to an earlier version",
    "retired": "was in production and was replaced; bakeoff rollback is the way back to it",
    "rejected": "was rejected; a new version starts afresh",
}
"""Status -> why a person's word on a gate report changes nothing any more."""


def _check_open(version: PolicyVersion, word: str) -> None:
    if version.status in _CLOSED:
        raise Refused(f"{version.name} cannot be {word}: it {_CLOSED[version.status]}")


def adopt(
    version: PolicyVersion, *, signed_by: str, reason: str, now: datetime, covers_from: datetime | None = None
) -> Approval:
    """For what a policy starts from: it serves already, so there is nothing to compare it with.

    The signature is of `now`. `covers_from` is for the application itself (engine 'logged'), which answered before
    bakeoff came: from when on it did."""
    if version.status not in ("registered", "production"):
        raise Refused(f"{version.name} is {version.status}; only a registered version can be adopted")
    if covers_from is not None and not version.is_external:
        raise UsageError(
            f"{version.name} is answered by bakeoff, so it did not serve before it was adopted",
            cure="adopt it from now on, or the application itself: bakeoff policy adopt --external --since DAY",
        )
    if covers_from is not None:
        check_past(covers_from, now)
    return replace(_approval(version, "adopted", None, signed_by, reason, now, None), covers_from=covers_from)


def check_past(since: datetime, now: datetime) -> None:
    """Raises UsageError for a moment in the future: nobody has answered there."""
    if since > now:
        raise UsageError(
            f"{since.isoformat()} lies in the future",
            cure="give the day since which the application has answered like that, for instance --since 2024-01-01",
        )


def _approval(
    version: PolicyVersion,
    kind: str,
    report_digest: str | None,
    signed_by: str,
    note: str,
    now: datetime,
    expires_at: datetime | None,
) -> Approval:
    if not signed_by.strip() or not note.strip():
        raise UsageError("an approval needs a name and a note", cure='add --by "Your Name" --note "what you looked at"')
    return Approval(
        approval_id=str(uuid.uuid5(NAMESPACE, f"{version.policy_version_id}|{kind}|{report_digest}|{now.isoformat()}")),
        policy_version_id=version.policy_version_id,
        kind="signed" if kind == "signed" else "adopted",
        report_digest=report_digest,
        fingerprint=version.fingerprint,
        signed_by=signed_by,
        note=note,
        signed_at=now,
        expires_at=expires_at,
    )
