"""The assigned version answers, or the policy's last resort does. A failing, slow or broken policy never breaks the
product (design rule 11)."""

from collections.abc import Callable
from dataclasses import replace

from bakeoff.errors import Refused, Unreachable
from bakeoff.inference.model import PolicyAnswer
from bakeoff.policies.model import PolicyVersion
from bakeoff.serving.model import Answered, Fallback, NoAnswer, Plan

Run = Callable[[PolicyVersion], PolicyAnswer]
_UNREPAIRED = Fallback(kind="unrepaired", reason="the answer could not be repaired")
_IN_TIME = ("late", "busy", "timeout")


def answer(plan: Plan, run: Run, resort: Run) -> Answered:
    """`run` asks the assigned version, `resort` the last resort; whatever they raise is told as a reason.

    Raises Unreachable where the last resort was too slow (asking again may help), else Refused where nobody has an
    answer."""
    broken: PolicyAnswer | None = None
    try:
        broken = run(plan.version)
        if broken.answer is not None:
            return Answered(by=plan.version, result=broken, fallback=None)
        why = _UNREPAIRED
    except Exception as error:  # whatever the policy does, the product gets an answer and the log gets the reason
        why = _why(error)
    if plan.last_resort is None:
        raise Refused(
            f"{plan.version.name} has no answer ({why.reason}) and its policy names no last resort",
            cure="bakeoff policy last-resort POLICY/VERSION names a python version",
        )
    result = _resorted(plan.version, plan.last_resort, resort, why)
    return Answered(by=plan.last_resort, result=_keep_raw(broken, result), fallback=why)


def _resorted(version: PolicyVersion, last_resort: PolicyVersion, resort: Run, why: Fallback) -> PolicyAnswer:
    nobody = f"neither {version.name} ({why.reason}) nor its last resort {last_resort.name}"
    try:
        result = resort(last_resort)
    except Exception as error:
        also = _why(error)
        if also.kind in _IN_TIME:
            raise Unreachable(
                f"{nobody} answered in time ({also.reason})",
                cure="ask again with the same key; a last resort should answer in milliseconds",
            ) from error
        raise Refused(f"{nobody} has an answer ({also.reason})") from error
    if result.answer is None:
        raise Refused(f"{nobody} has an answer")
    return result


def _why(error: Exception) -> Fallback:
    if isinstance(error, NoAnswer):
        return Fallback(kind=error.kind, reason=f"{error.kind}: {error}")
    reason = f"{type(error).__name__}: {error}".replace("\0", "\N{REPLACEMENT CHARACTER}")
    reason = reason.encode("utf-8", "replace").decode()  # PostgreSQL keeps neither NUL nor half characters
    return Fallback(kind="timeout" if isinstance(error, TimeoutError) else "error", reason=reason)


def _keep_raw(broken: PolicyAnswer | None, served: PolicyAnswer) -> PolicyAnswer:
    """What the assigned policy said stays in the log; what was served comes from the last resort."""
    return served if broken is None else replace(broken, answer=served.answer, action_propensity=None)
