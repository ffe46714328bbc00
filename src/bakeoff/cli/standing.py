"""Where a policy stands, and the next command: facts first, then one pure decision."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bakeoff.policies.model import PolicyVersion

TestStatus = Literal["running", "shipped", "rolled_back", "kept", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionFacts:
    """One policy version and what was found out about it."""

    version: PolicyVersion
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"] | None = None  # of its latest gate report
    report_digest: str | None = None
    approved_by: str | None = None
    approved_until: datetime | None = None  # None: not approved, or for good
    void_because: str | None = None  # why the approval ended that its latest report had
    test_status: TestStatus | None = None  # of the latest test that tried it

    @property
    def name(self) -> str:
        return self.version.name


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTest:
    """The test that is on."""

    experiment_id: str
    treated: str  # name of the version
    phase: int
    treated_bp: int  # basis points of the unit hash space
    units: int  # exposed, both arms
    verdict: str | None  # of the last look; None: nobody looked yet
    reason: str | None
    looked_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Everything about one policy that decides what comes next."""

    policy_id: str
    task: str
    versions: tuple[VersionFacts, ...]  # by number
    incumbent: str | None  # name of the version that serves; None: nobody is served
    explorer: str | None
    explorer_bp: int  # its share of the decisions, in basis points
    last_resort: str | None
    running: RunningTest | None
    events: int  # in the log
    decisions: int
    dataset: str | None  # version of the newest dataset
    dataset_digest: str | None
    holdback: RunningTest | None = None  # few units keep what the last promotion replaced; treated: what it moved
    external_since: datetime | None = None  # where the application itself is the incumbent: since when it answers


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """What to type, and why."""

    command: str
    why: str


def first_command(*, has_settings: bool) -> Next:
    """Where nothing was ever done: `has_settings` tells whether somebody said where things are."""
    if has_settings:
        return Next(command=adopt_external(), why=f"there is no policy yet: {_START}")
    return Next(
        command="bakeoff init",
        why="to begin with your own application; bakeoff demo shows the whole loop on a simulated town first",
    )


def adopt_external(task: str = "planner") -> str:
    """The command that starts from what an application does by itself."""
    named = "" if task == "planner" else f" --task {task}"
    return f'bakeoff policy adopt --external --since DAY{named} --by "Your Name" --reason "..."'


_START = (
    "start from what your application does by itself today; where it does nothing yet, make a version that bakeoff "
    "answers with: bakeoff policy create --base smollm2"
)


def next_command(standing: Standing, now: datetime) -> Next:
    """The one command that brings the loop forward. Pure: the same facts, the same advice."""
    if not standing.versions:
        return Next(command=adopt_external(standing.task), why=f"there is no version yet: {_START}")
    if standing.incumbent is None:
        return _adopt(standing)
    if standing.external_since is not None and standing.decisions == 0:
        return Next(
            command=f"bakeoff events import FILE --policy {standing.incumbent}",
            why=f"your application has answered since {standing.external_since:%Y-%m-%d}, and the log is empty: bring "
            "its history in, and let it log from now on: decide(..., own=...) or bakeoff.events.append",
        )
    if standing.running is not None:
        return _watch(standing, standing.running)
    for facts in standing.versions:
        if facts.test_status == "shipped" and facts.version.status == "approved":
            return Next(command=f"bakeoff promote {facts.name} --explain", why=f"{facts.name} won its test")
    challenger = find_challenger(standing)
    return _learn(standing, "no newer version is waiting") if challenger is None else _judge(standing, challenger, now)


def find_challenger(standing: Standing) -> VersionFacts | None:
    """The newest version that is on its way to replace the incumbent."""
    busy = {standing.incumbent, standing.explorer, standing.last_resort}
    numbers = {facts.name: facts.version.version for facts in standing.versions}
    least = numbers.get(str(standing.incumbent), 0)
    waiting = [
        facts
        for facts in standing.versions
        if facts.name not in busy
        and not facts.version.is_external  # another past of the application: nothing to try
        and facts.version.version > least
        and facts.version.status in ("registered", "candidate", "approved")
    ]
    return waiting[-1] if waiting else None


def _adopt(standing: Standing) -> Next:
    external = adopt_external(standing.task)
    ours = [facts.name for facts in standing.versions if not facts.version.is_external]
    if not ours:
        return Next(command=external, why="your application is known, but not since when it has answered")
    return Next(
        command=f'bakeoff policy adopt {ours[0]} --by "Your Name" --reason "..."',
        why=f"nothing serves yet: adopt what you start from; your application itself: {external}",
    )


def _watch(standing: Standing, test: RunningTest) -> Next:
    seen = "nobody looked yet" if test.verdict is None else f"the last look said {test.verdict}: {test.reason}"
    share = f"{test.treated} meets {test.treated_bp / 10_000:.0%} of the units"
    return Next(command=f"bakeoff experiment watch{_task(standing)}", why=f"{share}; {seen}")


def _judge(standing: Standing, facts: VersionFacts, now: datetime) -> Next:
    status, name = facts.version.status, facts.name
    if status == "registered" and facts.verdict is None:
        return Next(command=f"bakeoff gate {name}", why=f"{name} was not judged yet")
    if facts.verdict == "PASS" and status in ("registered", "candidate") and facts.void_because is not None:
        return Next(command=f"bakeoff gate {name}", why=f"the approval of {name} is void: {facts.void_because}")
    if facts.verdict == "PASS" and status in ("registered", "candidate"):
        return Next(
            command=f'bakeoff approve {name} --report {facts.report_digest} --note "..."',
            why=f"{name} passed its gate; a person reads bakeoff report {name} --open, and signs it or turns it down: "
            f'bakeoff reject {name} --report {facts.report_digest} --reason "..."',
        )
    if status == "approved":
        return _try(standing, facts, now)
    return _learn(standing, f"the gate says {facts.verdict} about {name} (bakeoff report {name} shows why)")


def _try(standing: Standing, facts: VersionFacts, now: datetime) -> Next:
    name = facts.name
    if facts.test_status in ("kept", "rolled_back"):
        return _learn(standing, f"the test of {name} ended: {facts.test_status}")
    if facts.approved_until is not None and facts.approved_until <= now:
        return Next(command=f"bakeoff gate {name}", why=f"the approval of {name} expired; judge it on fresh rows")
    again = " --name ANOTHER" if facts.test_status == "stopped" else ""
    beside = "" if standing.external_since is None else "; your application answers for the control: decide(own=...)"
    return Next(
        command=f"bakeoff experiment start {name} --spec FILE{again}",
        why=f"{name} is approved for at most 10 % of the units{beside}",
    )


def _learn(standing: Standing, because: str) -> Next:
    """Data first, then a model of it."""
    if standing.decisions == 0:
        return Next(
            command=f"bakeoff dataset build{_task(standing)}",
            why=f"{because}, and the log is empty: let the product ask for decisions first",
        )
    learnt = {facts.version.dataset_digest for facts in standing.versions}
    if standing.dataset is None or standing.dataset_digest in learnt:
        return Next(
            command=f"bakeoff dataset build{_task(standing)}", why=f"{because}; learn from what people did since"
        )
    return Next(
        command=f"bakeoff train --dataset {standing.dataset}{_task(standing)}",
        why=f"{because}; nothing was trained on dataset {standing.dataset}",
    )


def _task(standing: Standing) -> str:
    return "" if standing.task == "planner" else f" --task {standing.task}"
