"""A real gate becomes a page: the same one each time, and in a real browser without a word of complaint."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import stages
import toy
from bakeoff import lifecycle
from bakeoff.errors import Refused
from bakeoff.gates.model import Absolute, Gate, NonInferior
from bakeoff.lifecycle import Deps

TASK = toy.ToyTask()
RULES = Gate(
    name="toy",
    rules=(
        NonInferior(metric="right", margin=0.3),
        Absolute(metric="known_drink", column="known_drink", minimum=1.0),
    ),
    weights={"right": 1.0},
    minimum_effective_units=5,
    slices_per_gate=4,  # a shop is small
)
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture
def judged(deps: Deps, clock: stages.Clock) -> str:
    """Digest of a report on a shop's second version."""
    incumbent = stages.open_shop(deps)
    since = clock.now
    stages.live(deps, clock, day=1, shoppers=120)
    clock.turn(days=4)
    dataset = lifecycle.build_dataset(deps, TASK, since=since, until=clock.now)
    version = stages.python_version(deps, "good")
    sides = [lifecycle.replay(deps, TASK, each, dataset) for each in (version, incumbent)]
    return lifecycle.gate(deps, TASK, sides[0], sides[1], dataset, RULES).digest


def test_two_who_write_the_same_page_at_once_both_have_it(
    deps: Deps, judged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes all of it between this one's writing and its renaming."""
    replace, other = Path.replace, list[Path]()

    def slow(self: Path, target: Path) -> Path:
        if not other:
            other.append(target)
            assert lifecycle.write_report(deps, TASK, judged) == target
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", slow)
    assert [lifecycle.write_report(deps, TASK, judged)] == other
    assert list(deps.reports.iterdir()) == other


def test_the_page_lies_in_its_folder_and_is_the_same_each_time(deps: Deps, clock: stages.Clock, judged: str) -> None:
    place = lifecycle.write_report(deps, TASK, judged)
    assert place == deps.reports / f"{judged.removeprefix('sha256:')[:12]}.html"
    page = place.read_text()
    clock.turn(days=3)
    stages.live(deps, clock, day=9, shoppers=30)  # what came after the report is not on its page
    elsewhere = deps.reports / "deep" / "copy.html"
    assert lifecycle.write_report(deps, TASK, judged, to=elsewhere) == elsewhere
    assert elsewhere.read_text() == page
    assert sorted(path.name for path in deps.reports.iterdir()) == sorted(["deep", place.name])
    assert "toy_policy/2 may be tried on at most 10 % of the units" in page
    assert "From 120 needs of 120 units" in page
    assert "offered" not in page


def test_stored_rows_that_were_changed_are_pointed_at(deps: Deps, judged: str) -> None:
    with deps.db.transaction() as conn:
        conn.execute("set local bakeoff.erasure = 'on'")
        conn.execute("""update offline_replay_results set metrics = '{"right": 1, "known_drink": 1}'""")
    page = lifecycle.write_report(deps, TASK, judged).read_text()
    assert "THE STORED ROWS ARE NOT THOSE THAT WERE JUDGED" in page


def test_a_report_that_was_changed_gets_no_page(deps: Deps, judged: str) -> None:
    with deps.db.transaction() as conn:
        conn.execute("set local bakeoff.erasure = 'on'")
        conn.execute("""update gate_reports set report = report || '{"units": 7}'""")
    with pytest.raises(Refused, match="its content has digest"):
        lifecycle.write_report(deps, TASK, judged)
    assert not deps.reports.exists()


def browse(page: Path, scratch: Path) -> tuple[list[str], Path]:
    """Opens a page in a real browser that finds no other machine: what it complains about, and what it draws. What a
    page may not fetch or run is a complaint."""
    assert CHROMIUM is not None
    picture = scratch / f"{page.stem}.png"
    ran = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={scratch / page.stem}",
            f"--screenshot={picture}", "--window-size=1280,3000", "--enable-logging=stderr", "--log-level=0",
            page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    return re.findall(r"CONSOLE.*", ran.stderr), picture


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_browser_shows_it_without_an_error_and_asks_nobody_anything(deps: Deps, judged: str, tmp_path: Path) -> None:
    page = lifecycle.write_report(deps, TASK, judged)
    complaints, picture = browse(page, tmp_path)
    assert complaints == []
    assert picture.stat().st_size > 50_000  # a page that was drawn, not a blank one
    # The same page with something to fetch and to run: the browser refuses both, and says so.
    spoilt = tmp_path / "spoilt.html"
    more = '<img src="http://127.0.0.1:9/x.png" alt=""><script>document.title = "x"</script></body>'
    spoilt.write_text(page.read_text().replace("</body>", more))
    complaints, _ = browse(spoilt, tmp_path)
    assert len([said for said in complaints if "Content Security Policy" in said]) >= 2
