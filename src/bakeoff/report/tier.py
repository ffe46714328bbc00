"""The stricter tests after the rules: segments, stress requests, behaviour, and whether predictions may be trusted.

Read from the report's own JSON, so that a report of another version is shown as far as it goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from bakeoff.report.model import Evidence
from bakeoff.report.parts import Block, Cell, Section, badge, table
from bakeoff.report.words import figure, plain, share, signed

Json = Mapping[str, Any]


def sections(evidence: Evidence) -> list[Section]:
    """Those for which the report has something."""
    body = evidence.stored.report.to_json()
    tier = body.get("tier") or {}
    return [
        *_segments(tier),
        *_stress(tier),
        *_behaviour(tier),
        *_calibrations(body.get("calibrations") or ()),
    ]


def _segments(tier: Json) -> list[Section]:
    segments: Sequence[Json] = tier.get("segments") or ()
    if not segments:
        return []
    metrics = list(dict.fromkeys(each["metric"] for segment in segments for each in segment["metrics"]))
    rows = [
        (
            f"{plain(segment['feature'])} = {segment['value']}",
            str(segment["rows"]),
            str(segment["units"]),
            *(_in_segment(segment, metric) for metric in metrics),
        )
        for segment in segments
    ]
    harmed = sum(bool(each["is_harmed"]) for segment in segments for each in segment["metrics"])
    said = (
        f"{harmed} of the cells below show harm beyond doubt; a version must be harmful in no segment."
        if harmed
        else "No segment shows harm beyond doubt (over all segments and metrics together)."
    )
    head = ("segment", "rows", "units", *(plain(metric) for metric in metrics))
    blocks: tuple[Block, ...] = (
        f"{said} Numbers are the candidate's advantage; a dash means too few units to say anything.",
        table("advantage by segment", head, rows, numbers=range(1, len(head))),
    )
    return [Section(anchor="segments", title="Segments", blocks=blocks)]


def _in_segment(segment: Json, metric: str) -> Cell:
    found = next((each for each in segment["metrics"] if each["metric"] == metric), None)
    if found is None:
        return "–"
    return badge("FAIL") + f" {signed(found['estimate'])}" if found["is_harmed"] else signed(found["estimate"])


def _stress(tier: Json) -> list[Section]:
    if "stress" not in tier:
        return []
    findings: Sequence[Json] = tier["stress"]
    if not findings:
        return [Section(anchor="stress", title="Stress requests", blocks=(str(tier.get("unasked") or "None asked."),))]
    rows = [
        (
            badge("FAIL") if found["new"] else badge("PASS"),
            plain(found["name"]),
            str(found["requests"]),
            _breaches(found["candidate"]),
            "not asked" if found["incumbent"] is None else _breaches(found["incumbent"]),
            _breaches(found["new"]),
        )
        for found in findings
    ]
    head = ("verdict", "what makes them hard", "requests", "the candidate broke", "the incumbent broke", "new")
    blocks: tuple[Block, ...] = (
        "Requests made hard on purpose from real ones: what the log seldom shows and people will send some day. "
        "A rule that the candidate broke where the incumbent kept it fails the gate.",
        table("stress requests by kind", head, rows, numbers=(2,)),
    )
    return [Section(anchor="stress", title="Stress requests", blocks=blocks)]


def _breaches(found: Sequence[Json]) -> str:
    return "; ".join(f"{plain(each['rule'])} in {each['answers']}: {each['detail']}" for each in found) or "nothing"


_BEHAVIOUR = {
    "completion_tokens": ("tokens written per answer", figure),
    "unreadable": ("answers that could not be read", share),
    "unserved": ("answers with nothing to show, even after repair", share),
    "violating": ("answers that broke a hard rule, before repair", share),
    "latency_p50_s": ("seconds per answer, median", figure),
    "latency_p95_s": ("seconds per answer, 95th percentile", figure),
}


def _behaviour(tier: Json) -> list[Section]:
    found = tier.get("behaviour")
    if not found:
        return []
    ours, theirs = found["candidate"], found["incumbent"]
    rows = [
        (what, shown(ours[name]), shown(theirs[name]))
        for name, (what, shown) in _BEHAVIOUR.items()
        if name in ours and name in theirs
    ]
    blocks: tuple[Block, ...] = (
        f"On {share(found['same_answers'])} of {found['rows']} rows both gave the same answer.",
        table("behaviour of both", ("what", "candidate", "incumbent"), rows, numbers=(1, 2)),
    )
    return [Section(anchor="behaviour", title="Next to the version in production", blocks=blocks)]


def _calibrations(checks: Sequence[Json]) -> list[Section]:
    if not checks:
        return []
    rows = [
        (
            plain(check["metric"]),
            signed(check["bias"]),
            "–" if check["bound"] is None else f"at most {figure(check['bound'])}",
            "–" if check["maximum"] is None else figure(check["maximum"]),
            str(check["rows"]),
            str(check["units"]),
        )
        for check in checks
    ]
    head = ("predicted metric", "predicted minus actual", "surely", "allowed", "rows", "units")
    blocks: tuple[Block, ...] = (
        "A predicted metric is checked on held-out rows against what people really did. It may decide for another "
        "metric only while its bias is surely small.",
        table("calibration", head, rows, numbers=range(1, 6)),
    )
    return [Section(anchor="calibration", title="Can the predictions be trusted?", blocks=blocks)]
