"""What `bakeoff gate --json` said, as Markdown for the summary of a CI job.

python summary.py gate.json >> "$GITHUB_STEP_SUMMARY"
"""

import json
import sys
from pathlib import Path
from typing import Any

MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "⚠️", "SHOWN": ""}


def summary(body: dict[str, Any]) -> str:
    """The verdict, a table of what was gated, the stricter tests, and what the numbers rest on."""
    verdict = body["verdict"]
    gated = [each for each in (*body["verdicts"], *body["wall_clock"]) if each["outcome"] != "SHOWN"]
    lines = [
        f"## {MARKS[verdict]} {verdict}: {body['policy_version']} against {body['against']}",
        "",
        "| verdict | metric | candidate | incumbent | advantage | why |",
        "|---|---|---|---|---|---|",
        *(_row(each) for each in gated),
        "",
        *_tier(body.get("tier")),
        f"{body['rows']} held-out rows ({body['neutral_rows']} neutral) of {body['units']} units, slices "
        f"{body['subject'].get('slices', 'all')} of the test split, attempt {body.get('attempt', 1)}.",
        *([f"\n> ⚠️ {body['warning']}"] if body.get("warning") else []),
        "",
        f"Report `{body['digest']}`",
    ]
    return "\n".join(lines)


def _row(each: dict[str, Any]) -> str:
    compares = each["kind"] == "non_inferior"
    advantage = _span(each) if compares else ""
    why = each["reason"].replace("|", "\\|")
    return (
        f"| {MARKS[each['outcome']]} {each['outcome']} | {each['metric']} | {_figure(each['candidate'])} | "
        f"{_figure(each['incumbent']) if compares else ''} | {advantage} | {why} |"
    )


def _span(each: dict[str, Any]) -> str:
    return f"{_figure(each['estimate'])} [{_figure(each['lower'])}, {_figure(each['upper'])}]"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _tier(tier: dict[str, Any] | None) -> list[str]:
    if tier is None:
        return ["The stricter tests (segments, stress requests) wait until every rule passes.", ""]
    asked = sum(each["requests"] for each in tier["stress"])
    lines = [f"Stricter tests: **{tier['verdict']}**, {len(tier['segments'])} segments, {asked} stress requests."]
    return [*lines, *(f"- ❌ {reason}" for reason in tier["reasons"]), ""]


if __name__ == "__main__":
    print(summary(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
