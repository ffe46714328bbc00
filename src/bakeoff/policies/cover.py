"""What a signature covers, by digest, and which of it is no longer what was signed (design rule 8). Pure."""

from collections.abc import Mapping

from bakeoff.fingerprint import short
from bakeoff.gates.store import StoredReport
from bakeoff.policies.model import PolicyVersion

REPORT, SPEC, GATE, DATASET, ADAPTER = "report", "policy spec", "gate", "dataset", "adapter"
FILE = "dataset file "
"""Before the name of each file of the dataset's folder."""
MISSING = "missing"

_SAYS = {
    REPORT: ("the gate report", "run the gate again"),
    SPEC: ("the policy spec", "create a new version of it"),
    GATE: ("the rules in force", "judge the version by today's rules: run the gate again"),
    DATASET: ("the dataset", "build it again, then run the gate again"),
    ADAPTER: ("the registered model's adapter", "register the model again, then run the gate again"),
}


def judged(stored: StoredReport, version: PolicyVersion) -> dict[str, str]:
    """Digests that a report speaks of, by name."""
    report = stored.report
    model = version.spec.model
    adapter = {} if model is None or model.adapter_digest is None else {ADAPTER: model.adapter_digest}
    return {
        REPORT: report.digest,
        SPEC: report.subject["candidate"],
        GATE: report.gate_digest,
        DATASET: report.subject["dataset"],
        **adapter,
    }


def changes(signed: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """One sentence for each thing that is signed and is not what is found."""
    return [_sentence(name, was, found.get(name, MISSING)) for name, was in signed.items() if found.get(name) != was]


def cure(signed: Mapping[str, str], found: Mapping[str, str], name: str) -> str:
    """What to do about the first change; `name` is the version's."""
    changed = next((each for each in signed if found.get(each) != signed[each]), REPORT)
    what = _SAYS[DATASET if changed.startswith(FILE) else changed][1]
    return f"{what}: bakeoff gate {name}, read the new report, then bakeoff approve {name} --report DIGEST"


def _sentence(name: str, was: str, now: str) -> str:
    what = f"{name.removeprefix(FILE)} of the dataset" if name.startswith(FILE) else _SAYS[name][0]
    verb = "were" if name == GATE else "was"
    return f"{what} {verb} {short(was)}" + (" and is missing now" if now == MISSING else f", now {short(now)}")
