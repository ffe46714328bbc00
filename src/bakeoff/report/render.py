"""Evidence becomes one self-contained page: nothing is fetched, nothing runs, everything from outside is escaped."""

from pathlib import Path

from bakeoff.report import examples, online, sources, tier, verdicts
from bakeoff.report.model import Evidence
from bakeoff.report.parts import Figure, Section, Table
from bakeoff.report.words import headline

_PAGE = Path(__file__).with_name("page")


def html(evidence: Evidence) -> str:
    """The page. The same evidence gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests |= {
        "a_table": lambda block: isinstance(block, Table),
        "a_figure": lambda block: isinstance(block, Figure),
        "figures": lambda block: isinstance(block, tuple),
    }
    stored = evidence.stored
    return environment.get_template("report.html").render(
        style=Markup((_PAGE / "style.css").read_text(encoding="utf-8")),
        stored=stored,
        report=stored.report,
        candidate=evidence.candidate.version.name,
        incumbent=evidence.incumbent.version.name,
        headline=headline(stored, evidence.candidate.version.name, evidence.incumbent.version.name),
        before=[verdicts.section(evidence), verdicts.differences(evidence), *tier.sections(evidence)],
        chosen=examples.choose(evidence),
        after=_after(evidence),
        task=evidence.task.name,
    )


def _after(evidence: Evidence) -> list[Section]:
    return [
        sources.apart(evidence),
        sources.training(evidence),
        sources.dataset(evidence),
        sources.spending(evidence),
        online.section(evidence),
        sources.attempts(evidence),
        sources.lineage(evidence),
    ]
