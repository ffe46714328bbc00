"""Who says so: a person's word on one gate report, and whether it still holds when traffic is asked for."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bakeoff.datasets import files, verify
from bakeoff.datasets import store as datasets
from bakeoff.errors import Refused, UsageError
from bakeoff.experiments import store as experiments
from bakeoff.gates import store as gates
from bakeoff.gates.store import StoredReport
from bakeoff.lifecycle.deps import Deps
from bakeoff.policies import approve as approvals
from bakeoff.policies import cover
from bakeoff.policies import store as policies
from bakeoff.policies.model import Approval, PolicyVersion, Rejection
from bakeoff.training.adapter import adapter_digest


def find_report(deps: Deps, name: str, digest: str | None = None) -> tuple[PolicyVersion, StoredReport]:
    """A version by name and one of its gate reports: the latest, or the one whose digest begins with `digest`.

    Raises UsageError that lists what is there, and Refused for a report that was changed after it was written."""
    with deps.db.transaction() as conn:
        version = policies.find_version(conn, name)
        known = gates.digests(conn, version.policy_version_id)
        if not known:
            raise UsageError(f"{name} was not judged yet", cure=f"bakeoff gate {name}")
        return version, load_report(conn, known[-1] if digest is None else _matching(name, known, digest))


def approve(deps: Deps, name: str, *, report_digest: str, signed_by: str, note: str) -> Approval:
    """A person signs the digest of one gate report. The same signature again is the one that is there.

    Raises Refused where the report is no PASS, was changed, or where anything that it speaks of is not what it was:
    the dataset's folder, the policy spec, the rules in force, the registered adapter."""
    version, stored = find_report(deps, name, report_digest)
    digest = stored.report.digest
    with deps.db.transaction() as conn:
        standing = policies.live_approval(conn, version.policy_version_id)
    if standing is not None and standing.is_valid(deps.clock()) and standing.report_digest == digest:
        check_approval(deps, version.policy_version_id)
        return standing
    approval = approvals.approve(
        version,
        report_digest=digest,
        report_verdict=stored.report.verdict.value,
        report_fingerprint=stored.fingerprint,
        signed_by=signed_by,
        note=note,
        now=deps.clock(),
        covers=_covered(deps, version, stored),
    )
    with deps.db.transaction() as conn:
        policies.lock_word(conn, version.policy_version_id)
        faster = policies.live_approval(conn, version.policy_version_id)
        if faster is not None and faster != standing and faster.report_digest == digest:
            return faster  # somebody signed the same a moment ago
        policies.void_approval(conn, version.policy_version_id, now=deps.clock(), reason="a newer report was signed")
        policies.insert_approval(conn, approval)
    return approval


def reject(deps: Deps, name: str, *, report_digest: str, rejected_by: str, reason: str) -> Rejection:
    """A person turns a version down after reading one of its reports; it gets no approval any more. The same again
    is the rejection that is there. Raises Refused while a test of it is running."""
    version, stored = find_report(deps, name, report_digest)
    with deps.db.transaction() as conn:
        policies.lock_word(conn, version.policy_version_id)
        there = policies.find_rejection(conn, version.policy_version_id)
        if there is not None and there.report_digest == stored.report.digest:
            return there
        rejection = approvals.reject(
            version,
            report_digest=stored.report.digest,
            rejected_by=rejected_by,
            reason=reason,
            now=deps.clock(),
        )
        _check_not_tested(conn, version)
        policies.insert_rejection(conn, rejection)
    return rejection


def check_approval(deps: Deps, policy_version_id: str) -> None:
    """Before traffic: raises Refused where the version's approval is missing, expired, or void because something that
    it covers has changed. Then it is voided first, with the reason; traffic that runs already is not cut."""
    with deps.db.transaction() as conn:
        version = policies.version_by_id(conn, policy_version_id)
        approval = policies.live_approval(conn, policy_version_id)
        if approval is None:
            raise _unapproved(conn, version)
    if not approval.is_valid(deps.clock()):
        raise Refused(
            f"{version.name} has no valid approval: the one by {approval.signed_by} expired on "
            f"{approval.expires_at:%Y-%m-%d}",
            cure=f"judge it on fresh rows and sign that: bakeoff gate {version.name}",
        )
    signed, found = _signed_and_found(deps, version, approval)
    changed = cover.changes(signed, found)
    if changed:
        reason = "; ".join(changed)
        with deps.db.transaction() as conn:
            policies.void_approval(conn, policy_version_id, now=deps.clock(), reason=reason)
        raise Refused(
            f"{version.name} has no valid approval: what {approval.signed_by} signed has changed ({reason})",
            cure=cover.cure(signed, found, version.name),
        )


# ---- what was signed, and what is there now -------------------------------------------------------------------------


def _signed_and_found(deps: Deps, version: PolicyVersion, approval: Approval) -> tuple[dict[str, str], dict[str, str]]:
    if approval.report_digest is None:  # adopted: there is nothing but the spec
        return {cover.SPEC: approval.fingerprint}, {cover.SPEC: version.spec.fingerprint}
    try:
        with deps.db.transaction() as conn:
            stored = load_report(conn, approval.report_digest)
    except Refused:
        return {cover.REPORT: approval.report_digest}, {cover.REPORT: cover.MISSING}
    signed = approval.covers or cover.judged(stored, version)
    return dict(signed), _found(deps, version, stored)


def _covered(deps: Deps, version: PolicyVersion, stored: StoredReport) -> dict[str, str]:
    """Digests for a new signature. Raises Refused where something is not what was judged."""
    judged, found = cover.judged(stored, version), _found(deps, version, stored)
    changed = cover.changes(judged, found)
    if changed:
        raise Refused(
            f"report {stored.report.digest} speaks of what is no longer there: {'; '.join(changed)}",
            cure=cover.cure(judged, found, version.name),
        )
    with deps.db.transaction() as conn:
        dataset = datasets.by_digest(conn, stored.report.subject["dataset"])
    if dataset is not None:
        with deps.progress.stage("dataset") as move:
            verify.check(dataset, lambda rows: move(rows, dataset.rows))
    return found


def _found(deps: Deps, version: PolicyVersion, stored: StoredReport) -> dict[str, str]:
    """Digests of what is there now, by the names of `cover`. Raises Refused where that cannot be seen from here."""
    report = stored.report
    rules = deps.gate_in_force(version.spec.task)
    return {
        cover.REPORT: report.digest,
        cover.SPEC: version.spec.fingerprint,
        cover.GATE: report.gate_digest if rules is None else rules.digest,
        **_dataset(deps, report.subject["dataset"]),
        **_adapter(deps, version),
    }


def _dataset(deps: Deps, digest: str) -> Mapping[str, str]:
    with deps.db.transaction() as conn:
        dataset = datasets.by_digest(conn, digest)
    if dataset is None:
        return {}
    try:
        described, now = files.describe(dataset.uri), verify.file_digests(dataset.uri)
    except UsageError as error:
        raise Refused(
            f"the dataset that was judged cannot be seen from here: {error}",
            cure="type this where the datasets are, or keep them where everybody reaches them: BAKEOFF_DATASETS_ROOT",
        ) from error
    return {cover.DATASET: described.digest, **{f"{cover.FILE}{name}": sha for name, sha in now.items()}}


def _adapter(deps: Deps, version: PolicyVersion) -> Mapping[str, str]:
    """Of the registered model's files as the registry gives them now; of the folder where it was never registered."""
    model = version.spec.model
    if model is None or model.adapter_digest is None:
        return {}
    with TemporaryDirectory(prefix="bakeoff-") as scratch:
        try:
            folder = Path(model.adapter or "")
            if version.mlflow_model_name and version.mlflow_model_version:
                there = deps.models.download(version.mlflow_model_name, version.mlflow_model_version, Path(scratch))
                folder = there / "adapter"
            return {cover.ADAPTER: adapter_digest(folder)}
        except UsageError:
            return {}


# ---- look-ups -------------------------------------------------------------------------------------------------------


def load_report(conn: policies.Conn, digest: str) -> StoredReport:
    """A report that is there. Raises Refused where its content is not what its digest says."""
    try:
        stored = gates.find(conn, digest)
    except UsageError as error:
        raise Refused(f"report {digest}: {error}", cure="run the gate again") from error
    if stored.report.digest != digest:
        raise Refused(
            f"report {digest} was changed after it was written: its content has digest {stored.report.digest}",
            cure="run the gate again",
        )
    return stored


def _matching(name: str, known: list[str], digest: str) -> str:
    digits = digest.removeprefix("sha256:").lower()
    found = [each for each in known if each.removeprefix("sha256:").startswith(digits)] if len(digits) >= 6 else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} gate reports of {name} begin" if found else f"no gate report of {name} begins"
    raise UsageError(
        f"{what} with {digest}; known: {', '.join(known)}",
        cure="give more of the digest, at least 6 digits; bakeoff gate prints it",
    )


def _unapproved(conn: policies.Conn, version: PolicyVersion) -> Refused:
    rejection = policies.find_rejection(conn, version.policy_version_id)
    if rejection is not None:
        return Refused(
            f"{version.name} has no valid approval: {rejection.rejected_by} rejected it on "
            f"{rejection.rejected_at:%Y-%m-%d}: {rejection.reason}",
            cure="a new version starts afresh",
        )
    voided = policies.last_voided(conn, version.policy_version_id)
    why = "" if voided is None else f": the one by {voided.signed_by} was voided ({voided.reason})"
    return Refused(
        f"{version.name} has no valid approval, so it gets no traffic{why}",
        cure=f"bakeoff gate {version.name} judges it and says how to sign the report",
    )


def _check_not_tested(conn: policies.Conn, version: PolicyVersion) -> None:
    running = experiments.running_test(conn, version.policy_id)
    tried = [] if running is None else experiments.variants(conn, running.experiment_id)
    if any(variant.policy_version_id == version.policy_version_id for variant in tried):
        raise Refused(
            f"{version.name} is in a running test; a rejection does not cut traffic",
            cure='end the test first: bakeoff experiment stop --reason "..."',
        )
