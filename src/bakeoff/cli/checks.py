"""What ``bakeoff doctor`` checks. Each check is a sentence, and where something is wrong what to type."""

import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from bakeoff import plugins
from bakeoff.adapters import postgres
from bakeoff.adapters.generation import hardware
from bakeoff.cli import connections
from bakeoff.errors import Refused, Unreachable, UsageError
from bakeoff.events.health import Finding
from bakeoff.policies.model import PolicyVersion
from bakeoff.promotion import registry as following
from bakeoff.promotion.model import Drift, Registered
from bakeoff.promotion.replicas import Gap, Replica
from bakeoff.registry.model import ModelRegistry
from bakeoff.settings import Settings

State = Literal["fine", "note", "wrong", "unreachable"]
_MARKS: Mapping[State, str] = {"fine": "ok", "note": "note", "wrong": "WRONG", "unreachable": "AWAY"}
LIBRARIES = ("bakeoff", "psycopg", "pyarrow", "mlflow", "torch", "transformers", "peft", "llguidance")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One finding."""

    name: str
    state: State  # 'note': works, but is worth knowing
    says: str
    cure: str | None = None  # what to type


def fine(name: str, says: str) -> Check:
    return Check(name=name, state="fine", says=says)


def exit_code(checks: Sequence[Check]) -> int:
    """0, 3 where something is wrong, 4 where something does not answer."""
    states = {check.state for check in checks}
    return 4 if "unreachable" in states else 3 if "wrong" in states else 0


def as_text(checks: Sequence[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{_MARKS[check.state]:<6} {check.name:<{width}}  {check.says}")
        if check.cure:
            lines.append(f"{'':<{width + 9}}-> {check.cure}")
    return "\n".join(lines)


# ---- this machine -----------------------------------------------------------------------------------------------


def libraries(find: Callable[[str], str] = version) -> list[Check]:
    """Versions that are installed; none is imported."""
    missing, found = [], [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {find(name)}")
        except PackageNotFoundError:
            missing.append(name)
    checks = [fine("versions", ", ".join(found))]
    if missing:
        checks.append(
            Check(
                name="versions",
                state="note",
                says=f"not installed: {', '.join(missing)}",
                cure="pip install 'bakeoff[embedded,mlflow,train]'",
            )
        )
    return checks


def machine() -> list[Check]:
    cuda = _torch_cuda()
    return [
        fine("processor", f"{platform.machine()}, {hardware.usable_cores()} usable cores"),
        number_format(hardware.pick_dtype(cuda_bfloat16=False)),
        gpu(present=_gpu_present(), installed=cuda is not None, build=None if cuda is None else cuda[0],
            usable=cuda is not None and cuda[1]),
    ]  # fmt: skip


def number_format(dtype: str) -> Check:
    """Whether the processor has fast bfloat16 instructions."""
    if dtype == "bfloat16":
        return fine("bfloat16", "the processor has fast bfloat16 instructions; local models use them")
    return Check(
        name="bfloat16",
        state="note",
        says="no fast bfloat16 instructions on this processor: models compute in float32",
    )


def gpu(*, present: bool, installed: bool, build: str | None, usable: bool) -> Check:
    """`build` is the CUDA version that torch was built for, None for a CPU build."""
    if present and installed and build is None:
        return Check(
            name="GPU",
            state="wrong",
            says="there is an NVIDIA GPU, but torch is the build for CPUs only",
            cure="make setup GPU=1",
        )
    if present and not usable:
        reason = "torch is not installed" if not installed else f"torch (CUDA {build}) cannot use it"
        return Check(name="GPU", state="wrong", says=f"there is an NVIDIA GPU, but {reason}", cure="look at nvidia-smi")
    return fine("GPU", f"NVIDIA, torch uses CUDA {build}" if usable else "none; models run on the processor")


def _gpu_present() -> bool:
    return shutil.which("nvidia-smi") is not None or any(Path("/dev").glob("nvidia[0-9]*"))


def _torch_cuda() -> tuple[str | None, bool] | None:
    """CUDA version of torch's build and whether it works; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    return torch.version.cuda, bool(torch.cuda.is_available())


# ---- the database -----------------------------------------------------------------------------------------------


def database(settings: Settings) -> list[Check]:
    """Reachable, new enough, migrated; the last one is not 'fine' where nothing more can be asked of it."""
    from bakeoff import bootstrap
    from bakeoff.cli.progress import TerminalProgress

    try:
        opened = bootstrap.open_deps(settings, progress=TerminalProgress(), migrate=False)
        with opened as wired, wired.db.transaction() as conn:
            number = conn.info.server_version // 10_000
            pending = postgres.pending(conn, plugins.migration_folders())
    except Unreachable as error:
        return [Check(name="database", state="unreachable", says=str(error).splitlines()[0], cure=error.cure)]
    except Refused as error:
        return [Check(name="database", state="wrong", says=str(error).splitlines()[0], cure=error.cure)]
    return [server(number, embedded=settings.database_url is None), migrations(settings.schema_name, pending)]


def server(number: int, *, embedded: bool) -> Check:
    if number < connections.OLDEST_POSTGRES:
        says = f"PostgreSQL {number}; expected {connections.OLDEST_POSTGRES} or newer"
        return Check(name="database", state="wrong", says=says, cure="upgrade the server")
    if embedded:
        says = (
            f"embedded PostgreSQL {number}: its rules are advisory here, everybody who can open the folder is "
            "superuser; they guard against mistakes, not against people"
        )
        return Check(name="database", state="note", says=says)
    return fine("database", f"PostgreSQL {number} answers")


def migrations(schema: str, pending: Sequence[str]) -> Check:
    if pending:
        says = f"schema {schema!r} lacks {', '.join(pending)}"
        return Check(name="migrations", state="wrong", says=says, cure="bakeoff db migrate")
    return fine("migrations", f"schema {schema!r} has all of them")


def signatures(*, above: bool) -> Check:
    """Whether this user is bound by the rules about approvals, or stands `above` them."""
    if not above:
        return fine("signatures", "this database user is bound by the rules: only the approver writes approvals")
    return Check(
        name="signatures",
        state="note",
        says="this database user owns the tables or is superuser: the rules about approvals are advisory for it",
        cure="bakeoff db roles --writer NAME --approver NAME, then work as a member of one of them",
    )


# ---- the log ----------------------------------------------------------------------------------------------------

SHOWN = 3
"""Examples of a finding; --json has them all."""


def log(task: str, found: Sequence[Finding]) -> list[Check]:
    """What was looked for in a task's log: each thing that is there, and one line about all the others."""
    there = [finding for finding in found if finding.count]
    quiet = f"{len(found) - len(there)} of {len(found)} things that can go wrong with a log are not there"
    return [fine(f"log of {task}", quiet), *(_finding(task, finding) for finding in there)]


def _finding(task: str, finding: Finding) -> Check:
    more = ", ..." if len(finding.examples) > SHOWN else ""
    examples = f": {', '.join(finding.examples[:SHOWN])}{more}" if finding.examples else ""
    return Check(
        name=f"log of {task}",
        state="wrong" if finding.is_wrong else "note",
        says=f"{finding.count} {finding.name}{examples}",
        cure=finding.what_to_do,
    )


def no_task(task: str, error: UsageError) -> Check:
    """A policy whose task is not installed here: its log cannot be read."""
    return Check(name=f"log of {task}", state="wrong", says=str(error).splitlines()[0], cure=error.cure)


# ---- where datasets lie -----------------------------------------------------------------------------------------


def storage(root: str) -> Check:
    """Whether a file can be written below the datasets root, read back and removed; a folder, or for instance s3://.
    Looking makes no folder."""
    place = Path(root.removeprefix("file://"))
    if connections.is_folder(root) and not place.exists():
        return _not_made_yet(place)
    found = connections.datasets(root)
    return Check(name="datasets", state="fine" if found.fine else "unreachable", says=found.says, cure=found.cure)


def _not_made_yet(place: Path) -> Check:
    above = next(folder for folder in place.absolute().parents if folder.exists())
    if above.is_dir() and os.access(above, os.W_OK):
        return fine("datasets", f"{place} is not there yet; the first dataset makes it")
    says = f"{place} is not there, and {above} is no folder that can be written"
    return Check(name="datasets", state="wrong", says=says, cure="set BAKEOFF_DATASETS_ROOT to a folder of yours")


# ---- servers of models ------------------------------------------------------------------------------------------


def endpoints(settings: Settings) -> list[Check]:
    """Whether each server in the settings answers, and with which models."""
    return [_endpoint(settings, name) for name in sorted(settings.endpoints)]


def _endpoint(settings: Settings, name: str) -> Check:
    from bakeoff import bootstrap
    from bakeoff.adapters.remote.engine import served_models

    label, url = f"endpoint {name}", settings.endpoints[name].base_url
    try:
        models = served_models(bootstrap.endpoint(settings, name))
    except Unreachable as error:
        return Check(name=label, state="unreachable", says=str(error).splitlines()[0], cure=error.cure)
    except UsageError as error:
        return Check(name=label, state="wrong", says=str(error).splitlines()[0], cure=error.cure)
    return fine(label, f"{url} serves {', '.join(models) or 'no model'}")


def endpoint_names(versions: Sequence[PolicyVersion], settings: Settings) -> list[Check]:
    """Policy versions that name a server which is not in the settings here."""
    return [
        Check(
            name=f"endpoint {version.spec.remote.endpoint}",
            state="wrong" if version.status in ("approved", "production") else "note",
            says=f"{version.name} ({version.status}) is answered there, and it is not in the settings",
            cure=f"add [endpoints.{version.spec.remote.endpoint}] with its base_url to bakeoff.toml",
        )
        for version in versions
        if version.spec.remote is not None and version.spec.remote.endpoint not in settings.endpoints
    ]


# ---- the registry, our tables, replicas --------------------------------------------------------------------------


def registry(known: Sequence[Registered], models: ModelRegistry, *, repair: bool) -> list[Check]:
    """Compares, and with `repair` lets the registry follow our table."""
    try:
        if not known:
            models.aliases("bakeoff")  # whether it answers at all
        found = following.look(models, known)
        return _told(found, len(known), models if repair else None)
    except Unreachable as error:
        return [Check(name="MLflow", state="unreachable", says=str(error).splitlines()[0], cure=error.cure)]
    except UsageError as error:
        return [Check(name="MLflow", state="wrong", says=str(error).splitlines()[0], cure=error.cure)]


def _told(found: Sequence[Drift], count: int, models: ModelRegistry | None) -> list[Check]:
    if not found:
        return [fine("MLflow", f"answers; {count} registered versions say what our table says")]
    return [_drift_check(drift, models) for drift in found]


def _drift_check(drift: Drift, models: ModelRegistry | None) -> Check:
    says = f"{drift.place} is {drift.found or 'not set'}, our table says {drift.expected or 'none'}"
    if models is None:
        return Check(name="MLflow", state="wrong", says=says, cure="bakeoff doctor --repair")
    if following.repair(models, drift):
        return Check(name="MLflow", state="note", says=f"{says}; repaired")
    return Check(name="MLflow", state="note", says=f"{says}; this server does not take it, alias and tag say the same")


def standing(policy_id: str, incumbent: PolicyVersion | None, promoted: str | None) -> list[Check]:
    """Whether our own tables agree about who serves. `promoted`: policy version id of the last promotion or rollback,
    None where there was none."""
    if incumbent is None:
        return []
    if promoted is not None and promoted != incumbent.policy_version_id:
        says = f"{incumbent.name} serves everyone, but the last promotion or rollback names another version"
        cure = "somebody wrote past the commands; bakeoff rollback POLICY/VERSION sets both"
        return [Check(name=f"serving {policy_id}", state="wrong", says=says, cure=cure)]
    if incumbent.status != "production":
        says = f"{incumbent.name} serves everyone, but its status is {incumbent.status}"
        return [Check(name=f"serving {policy_id}", state="wrong", says=says, cure="bakeoff doctor --repair")]
    return [fine(f"serving {policy_id}", f"{incumbent.name} serves everyone, and every table says so")]


def replicas(known: Sequence[Replica], found: Sequence[Gap], names: Mapping[str, str], *, repair: bool) -> list[Check]:
    """What serving processes hold, against what has traffic. `names`: policy version id -> as people type it; with
    `repair` the caller forgets the silent ones."""
    checks = [_gap(gap, names, repair=repair) for gap in found]
    hale = len(known) - len(found)
    if hale or not known:
        says = f"{hale} serving, each with every version that has traffic" if known else "none has told of itself"
        checks.insert(0, fine("replicas", says))
    return checks


def _gap(gap: Gap, names: Mapping[str, str], *, repair: bool) -> Check:
    replica = gap.replica
    if gap.kind == "silent":
        says = f"{replica} was not seen since {replica.seen_at:%Y-%m-%d %H:%M:%S} UTC: it has died, or it hangs"
        cure = "restart it; bakeoff doctor --repair forgets one that is gone"
        if repair:
            return Check(name="replicas", state="note", says=f"{says}; forgotten until it tells of itself again")
        return Check(name="replicas", state="wrong", says=says, cure=cure)
    lacks = ", ".join(names.get(version, version) for version in gap.versions)
    says = f"{replica} has not loaded {lacks}, which has traffic: the last resort answers there"
    return Check(name="replicas", state="wrong", says=says, cure="look at its log (memory, MLflow), then restart it")
