"""Weights that load are not yet a policy: one answer is generated before anything is registered."""

from bakeoff.errors import Refused, UsageError
from bakeoff.inference.model import Engines, PolicyAnswer, PolicySpec
from bakeoff.inference.run_policy import run_policy
from bakeoff.task import Request, Task


def answer_once(engines: Engines, task: Task, spec: PolicySpec, probe: Request | None) -> PolicyAnswer | None:
    """Loads the model that `spec` names with a real engine and lets it answer `probe`; None without a probe.

    Raises Refused where it cannot be run; an answer that breaks rules is none of this room's business: the gate
    counts those."""
    if probe is None:
        return None
    try:
        return run_policy(task, spec, probe, engine=engines.open(spec))
    except (UsageError, Refused) as error:
        raise Refused(f"the model loads but does not answer a request: {error}") from error
