"""The page: everything is on it, nothing is fetched, nothing of the application's data is code."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bakeoff.report import examples, render
from bakeoff.report.model import Training
from evidence import NASTY, evidence

RUN = Training(
    run_id="run-1",
    params={"learning_rate": "2e-4", "epochs": "3"},
    tags={"git_commit": "abc123"},
    curves={"training_loss": [(0, 1.2), (10, 0.6), (20, 0.4)], "validation_loss": [(10, 0.7), (20, 0.5)]},
)


class Seen(HTMLParser):
    """Addresses, tags and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.ids += [str(named["id"])] if "id" in named else []
        self.links += [str(named[name]) for name in ("href", "src", "action", "data") if named.get(name)]
        assert not any(name.startswith("on") for name in named)
        if tag not in ("meta", "br", "line", "rect", "circle", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return render.html(evidence(training=RUN))


def test_the_page_fetches_nothing_and_runs_nothing(page: str) -> None:
    seen = Seen(page)
    assert seen.open == []
    assert {link for link in seen.links if not link.startswith("#")} == set()
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(seen.tags)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert "url(" not in page
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\s\"<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_what_the_application_says_is_text_and_never_code(page: str) -> None:
    assert NASTY not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20


def test_every_section_is_there_and_every_link_leads_to_one(page: str) -> None:
    seen = Seen(page)
    wanted = {"metrics", "differences", "examples", "anchored", "training", "dataset", "cost", "online", "attempts",
              "lineage", "sign"}  # fmt: skip
    assert wanted <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))
    assert {link[1:] for link in seen.links} == set(seen.ids)


def test_every_picture_has_words(page: str) -> None:
    assert page.count("<svg") == page.count('role="img"') == page.count("<title>") - 1
    assert re.findall(r'aria-label="liking: advantage of the candidate \+', page)
    assert re.findall(r'aria-label="by training step: training loss from 1.200 to 0.400', page)


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert render.html(evidence(training=RUN)) == render.html(evidence(training=RUN))


def test_the_signature_to_type_is_there_for_a_pass_only(page: str) -> None:
    made = evidence()
    assert f"bakeoff approve menus_policy/2 --report {made.stored.report.digest}" in page
    failed = render.html(evidence(ours=lambda n: 0.1))
    assert "bakeoff approve" not in failed
    assert "bakeoff reject menus_policy/2 --report" in failed


def test_facts_of_every_kind_are_on_the_page(page: str) -> None:
    for fact in ("2e-4", "abc123", "c0ffee", "sha256:replay2", "8 of 8 answers", "float32", "This is report 1",
                 "0.0001", "0.100", "per arm"):  # fmt: skip
        assert fact in page, fact


def test_worst_and_best_are_ranked_and_a_breach_comes_first() -> None:
    made = evidence(ours=lambda n: 0.5 + (n % 11 - 5) / 20, theirs=lambda n: 0.5, safe=lambda n: float(n != 44))
    chosen = examples.choose(made)
    assert (len(chosen.worst), len(chosen.best), chosen.metric) == (10, 10, "offline eval score")
    assert chosen.worst[0].answers[0].wrong == (f"allergy (mon): {NASTY}",)
    assert [example.advantage for example in chosen.worst[1:3]] == ["−0.250", "−0.250"]
    assert {example.advantage for example in chosen.best} == {"+0.250"}
    assert [answer.title for answer in chosen.best[0].answers] == [
        "Candidate menus_policy/2", "Incumbent menus_policy/1", "What people kept",
    ]  # fmt: skip
    assert chosen.best[0].answers[2].lines[0].startswith("Monday: kept")


def test_where_all_are_alike_there_is_neither_worst_nor_best() -> None:
    chosen = examples.choose(evidence(ours=lambda n: 0.5, theirs=lambda n: 0.5))
    assert chosen.worst == chosen.best == ()
    assert "no example on which the candidate is worse" in render.html(
        evidence(ours=lambda n: 0.5, theirs=lambda n: 0.5)
    )


def test_an_unreadable_answer_is_shown_as_it_was() -> None:
    made = evidence(rows=60)
    broken = replace(made.pairs[1].candidate, parsed_answer=None, raw_answer=f"sorry {NASTY}")
    pairs = (made.pairs[0], replace(made.pairs[1], candidate=broken), *made.pairs[2:])
    best = examples.choose(replace(made, pairs=pairs[:3])).best
    told = {answer.lines for example in best for answer in example.answers if answer.title[0] == "C"}
    assert ("nothing that could be read", f"sorry {NASTY}") in told
    assert NASTY not in render.html(replace(made, pairs=pairs[:3]))


def test_rows_that_are_not_those_that_were_judged_are_pointed_at() -> None:
    made = evidence(rows=60)
    changed = replace(made, candidate=replace(made.candidate, is_intact=False), pairs=made.pairs[:50])
    page = render.html(changed)
    assert "THE STORED ROWS ARE NOT THOSE THAT WERE JUDGED" in page
    assert "This page shows 50 of them" in page


def test_rules_that_are_not_in_force_are_named_and_their_score_is_not_made_up() -> None:
    page = render.html(evidence(gate=None))
    assert "(not the rules that are in force now)" in page
    assert "Ranked by liking, among 80 neutral rows." in page
    assert "neutral: the plan in the log came from neither version. unit household-" in page


def test_a_thousand_rows_make_a_page_that_opens() -> None:
    page = render.html(evidence(rows=1000))
    assert len(page) < 400_000
    assert page.count('class="example"') <= 20
