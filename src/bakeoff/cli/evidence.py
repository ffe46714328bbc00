"""What a test is and what was seen of it, as JSON values and as text for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from bakeoff.cli import lookup
from bakeoff.cli.session import table
from bakeoff.experiments import store as experiments
from bakeoff.experiments.model import (
    Advice,
    Analysis,
    Experiment,
    MetricAnalysis,
    Phase,
    QuantileAnalysis,
    Snapshot,
    Waiver,
)
from bakeoff.policies import store as policies


def describe(conn: lookup.Conn, test: Experiment) -> dict[str, Any]:
    """A test with its phases, waivers and units."""
    ident = test.experiment_id
    phases = experiments.phases(conn, ident)
    roles = {variant.role: variant for variant in experiments.variants(conn, ident)}
    control = policies.version_by_id(conn, roles["control"].policy_version_id)
    return {
        "experiment_id": ident,
        "name": test.name,
        "kind": test.kind,
        "status": test.status,
        "treated": lookup.treated(conn, test).name,
        "control": control.name,
        "spec_digest": test.spec_digest,
        "phase": phases[-1].number if phases else 0,
        "treated_share": phases[-1].treated_bp / 10_000 if phases else 0.0,
        "units": experiments.count_exposures(conn, ident),
        "started_at": None if test.started_at is None else test.started_at.isoformat(),
        "ended_at": None if test.ended_at is None else test.ended_at.isoformat(),
        "reason": test.reason,
        "phases": [_phase(phase) for phase in phases],
        "waivers": [_waiver(waiver) for waiver in experiments.waivers(conn, ident)],
        "forced_units": len(experiments.forced(conn, ident)),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {"phase": phase.number, "treated_share": phase.treated_bp / 10_000, "began_at": phase.began_at.isoformat()}


def _waiver(waiver: Waiver) -> dict[str, Any]:
    return {
        "rule": waiver.rule,
        "phase": waiver.phase_number,
        "by": waiver.signed_by,
        "reason": waiver.reason,
        "at": waiver.given_at.isoformat(),
    }


def row(body: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a list of tests."""
    named = {name: body[name] for name in ("treated", "control", "status", "phase", "units", "reason")}
    return {"test": body["name"] or body["experiment_id"][:8], **named}


def evidence(analysis: Analysis, advice: Advice) -> dict[str, Any]:
    return {"advice": advice.to_json(), "analysis": analysis.to_json()}


def look_row(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "at": snapshot.taken_at.isoformat(),
        "phase": snapshot.phase_number,
        "verdict": snapshot.advice.verdict,
        "reason": snapshot.advice.reason,
    }


def evidence_text(analysis: Analysis, advice: Advice) -> str:
    missing = f"; about {advice.missing_units} more units would probably settle it" if advice.missing_units else ""
    parts = [
        table([_metric_row(found) for found in analysis.metrics]),
        table([_quantile_row(found) for found in analysis.quantiles]),
        "\n".join(_notes(analysis, advice)),
        f"advice: {advice.verdict}, {advice.reason}{missing}",
    ]
    return "\n\n".join(part for part in parts if part)


def _metric_row(found: MetricAnalysis) -> dict[str, Any]:
    interval = found.reason if found.lower is None else f"[{found.lower:+.3f}, {found.upper:+.3f}]"
    return {
        "metric": found.metric,
        "treated": None if found.treated is None else f"{found.treated.value:.3f}",
        "control": None if found.control is None else f"{found.control.value:.3f}",
        "advantage": None if found.estimate is None else f"{found.estimate:+.3f}",
        "interval (at every look)": interval,
    }


def _quantile_row(found: QuantileAnalysis) -> dict[str, Any]:
    interval = "too few needs" if found.lower is None else f"[{found.lower:+.4g}, {found.upper:+.4g}]"
    return {
        "quantile": f"{found.metric} p{found.level:.0%}".rstrip("%"),
        "treated": f"{found.treated:.4g}",
        "control": f"{found.control:.4g}",
        "difference": f"{found.treated - found.control:+.4g}",
        "95 % interval (this look alone)": interval,
    }


def _notes(analysis: Analysis, advice: Advice) -> Iterator[str]:
    matured = analysis.matured
    yield f"matured units: {matured.get('treated', 0)} treated, {matured.get('control', 0)} control"
    cut = {found.metric: found.variance_cut for found in analysis.metrics if found.variance_cut is not None}
    if cut:
        shares = ", ".join(f"{share:.0%} of {name}" for name, share in cut.items())
        yield f"the weeks before the test explain {shares} (of the variance), and are taken out"
    elif analysis.adjustment:
        yield f"the weeks before the test are not used: {analysis.adjustment}"
    if analysis.forced:
        yield f"test units, left out: {analysis.forced}"
    if analysis.in_two_arms:
        yield f"units seen in both arms, left out: {analysis.in_two_arms}"
    if analysis.unexposed:
        yield f"units without an exposure, left out: {analysis.unexposed}"
    for rule in advice.waived:
        yield f"waived: {rule}"
    for flag in advice.flags:
        yield f"flag: {flag}"


def state(body: Mapping[str, Any]) -> str:
    """Where a test stands, in one line."""
    if body["status"] == "created":
        return f"{body['treated']}: the test was created and has no traffic yet"
    if body["kind"] == "holdback":
        return _holdback_state(body)
    if body["status"] == "running":
        return f"{body['treated']} meets {body['treated_share']:.0%} of the units (phase {body['phase']})"
    return f"{body['treated']}: the test is {body['status']}, {body['reason']}"


def _holdback_state(body: Mapping[str, Any]) -> str:
    if body["status"] == "running":
        share = f"{100 * body['treated_share']:g} % of the units"
        return f"{body['treated']} serves everyone but {share}, who keep {body['control']} until it is over"
    if body["status"] == "rolled_back":
        return f"{body['control']} serves everyone again: {body['reason']}"
    return f"the holdback is over, {body['treated']} serves everyone: {body['reason']}"


def following(body: Mapping[str, Any], *, by_hand: bool = False) -> list[str]:
    """What to type next. `by_hand`: the evidence says advance, and a person has to."""
    if body["status"] == "created":
        return [f"next: bakeoff experiment start {body['treated']} --name {body['name']}"]
    if body["kind"] == "holdback":
        watch = f"next: bakeoff experiment watch --holdback{task_words(body)}"
        return [watch] if body["status"] == "running" else []
    if body["status"] == "shipped":
        return [f"next: bakeoff promote {body['treated']} --explain"]
    if body["status"] == "running":
        return [f"next: bakeoff experiment {'ramp' if by_hand else 'watch'}{task_words(body)}"]
    return []


def task_words(body: Mapping[str, Any]) -> str:
    """`` --task NAME`` where it is not the default."""
    name = str(body["treated"]).partition("/")[0].removesuffix("_policy")
    return "" if name == "planner" else f" --task {name}"
