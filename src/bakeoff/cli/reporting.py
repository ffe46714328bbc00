"""``bakeoff report``"""

import webbrowser
from pathlib import Path

import click

from bakeoff import lifecycle, plugins
from bakeoff.cli.lookup import task_of
from bakeoff.cli.session import answer, as_json, deps, say


@click.command()
@click.argument("name")
@click.option("--report", "digest", metavar="DIGEST", help="Which one; its beginning is enough.  [default: the latest]")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the page is written.  [default: reports/ in bakeoff's folder]",
)
@click.option("--open", "and_open", is_flag=True, help="Show it in your browser.")
@as_json
def report(name: str, digest: str | None, out: Path | None, and_open: bool, as_json: bool) -> None:
    """One page on a gate's verdict, to read before signing: intervals against margins, differences per unit, the ten
    worst and ten best answers, training, cost, lineage, and what a first online stage could detect.

    It is one file that fetches nothing: send it, print it, keep it.

    \b
    Example: bakeoff report planner_policy/3 --open
             bakeoff report planner_policy/3 --report sha256:1f0c9a --out for_grace.html
    """
    with deps() as wired:
        version, stored = lifecycle.find_report(wired, name, digest)
        with wired.db.transaction() as conn:
            task = plugins.load_task(task_of(conn, version))
        place = lifecycle.write_report(wired, task, stored.report.digest, to=out)
    if and_open and not webbrowser.open(place.resolve().as_uri()):
        say("no browser answers here; open the file yourself")
    verdict = stored.report.verdict.value
    body = {"policy_version": name, "report_digest": stored.report.digest, "verdict": verdict, "page": str(place)}
    answer(as_json, body, f"{verdict}: {place}\nreport {stored.report.digest}")
