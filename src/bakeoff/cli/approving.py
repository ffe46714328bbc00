"""``bakeoff approve`` and ``bakeoff reject``"""

import getpass
import subprocess
import sys
from contextlib import suppress

import click

from bakeoff import lifecycle
from bakeoff.cli.session import answer, as_json, deps, say, table
from bakeoff.errors import Refused, UsageError
from bakeoff.fingerprint import short
from bakeoff.gates.store import StoredReport
from bakeoff.lifecycle import Deps
from bakeoff.policies import store as policies
from bakeoff.policies.model import PolicyVersion
from bakeoff.report import words

report_option = click.option(
    "--report",
    "report_digest",
    required=True,
    metavar="DIGEST",
    help="Of the gate report, as `bakeoff gate` prints it; its beginning is enough.",
)
by_option = click.option("--by", "signed_by", help="Your name.  [default: git config user.name, or who is logged in]")
yes_option = click.option("--yes", is_flag=True, help="Do not ask again.")


@click.command()
@click.argument("name")
@report_option
@by_option
@click.option("--note", required=True, help="What you looked at.")
@yes_option
@as_json
def approve(name: str, report_digest: str, signed_by: str | None, note: str, yes: bool, as_json: bool) -> None:
    """Sign one gate report: the version may then meet at most 10 % of the units in a test.

    The signature covers the report, the dataset, the rules, the policy spec and the adapter. It is good for 30 days,
    and void as soon as one of these changes; traffic that runs already is not cut.

    \b
    Example: bakeoff approve planner_policy/3 --report sha256:1f0c9a --note "read the ten worst plans"
    """
    with deps() as wired:
        stored = _shown(wired, name, report_digest)
        signer = _signer(signed_by)
        _confirm(f"Sign this report as {signer}?", yes)
        given = lifecycle.approve(wired, name, report_digest=stored.report.digest, signed_by=signer, note=note)
        _say_advisory(wired)
    body = {
        "policy_version": name,
        "approval_id": given.approval_id,
        "report_digest": given.report_digest,
        "signed_by": given.signed_by,
        "signed_at": given.signed_at.isoformat(),
        "expires_at": None if given.expires_at is None else given.expires_at.isoformat(),
        "covers": given.covers,
    }
    until = "" if given.expires_at is None else f", good until {given.expires_at:%Y-%m-%d}"
    text = f"{name} is approved by {given.signed_by}{until}\nnext: bakeoff experiment start {name} --spec FILE"
    answer(as_json, body, text)


@click.command()
@click.argument("name")
@report_option
@by_option
@click.option("--reason", required=True, help="What is wrong with it.")
@yes_option
@as_json
def reject(name: str, report_digest: str, signed_by: str | None, reason: str, yes: bool, as_json: bool) -> None:
    """Turn a version down, whatever its report says. It gets no approval any more; a new version starts afresh.

    \b
    Example: bakeoff reject planner_policy/3 --report sha256:1f0c9a --reason "five soups in a week"
    """
    with deps() as wired:
        stored = _shown(wired, name, report_digest)
        signer = _signer(signed_by)
        _confirm(f"Reject {name} for good as {signer}?", yes)
        given = lifecycle.reject(wired, name, report_digest=stored.report.digest, rejected_by=signer, reason=reason)
        _say_advisory(wired)
    body = {
        "policy_version": name,
        "report_digest": given.report_digest,
        "rejected_by": given.rejected_by,
        "rejected_at": given.rejected_at.isoformat(),
        "reason": given.reason,
    }
    answer(as_json, body, f"{name} is rejected by {given.rejected_by}: {given.reason}\nnext: bakeoff status")


def _shown(wired: Deps, name: str, digest: str) -> StoredReport:
    """The report, after its summary was said to whoever is about to decide."""
    version, stored = lifecycle.find_report(wired, name, digest)
    with wired.db.transaction() as conn:
        incumbent = policies.version_by_id(conn, stored.report.subject["incumbent_version"])
    for line in summary(version, incumbent, stored):
        say(line)
    page = wired.reports / f"{short(stored.report.digest)}.html"
    say(f"the whole report: {page}" if page.exists() else f"the whole report: bakeoff report {name} --open")
    say("")
    return stored


def summary(version: PolicyVersion, incumbent: PolicyVersion, stored: StoredReport) -> list[str]:
    """A report in a few lines."""
    report = stored.report
    rows = [
        {
            "verdict": verdict.outcome.value,
            "metric": verdict.metric,
            "candidate": words.figure(verdict.candidate),
            "incumbent": words.figure(verdict.incumbent),
            "needed": words.needed(verdict),
        }
        for verdict in report.all_verdicts()
    ]
    return [
        f"{report.verdict.value}: {words.headline(stored, version.name, incumbent.name)}",
        "",
        table(rows),
        "",
        f"{report.rows} held-out rows of {report.units} units, {stored.created_at:%Y-%m-%d}; "
        f"attempt {stored.attempt} on these rows; report {report.digest}",
    ]


def _signer(given: str | None) -> str:
    """Whose name is signed: the one that is given, else the one that git or the machine knows, said aloud."""
    if given is not None:
        return given
    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=True, timeout=10)
        if asked.stdout.strip():
            return _aloud(asked.stdout.strip(), "git config user.name")
    with suppress(OSError, KeyError, ImportError):
        return _aloud(getpass.getuser(), "who is logged in")
    raise UsageError("nobody knows your name here", cure='add --by "Your Name"')


def _aloud(name: str, source: str) -> str:
    say(f"signing as {name} (from {source}; --by names somebody else)")
    return name


def _confirm(question: str, yes: bool) -> None:
    """Asks a person at a terminal; scripts have said what they want by calling."""
    if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
        raise Refused("you did not confirm, so nothing was written", cure="--yes signs without asking")


def _say_advisory(wired: Deps) -> None:
    with wired.db.transaction() as conn:
        advisory = policies.is_advisory(conn)
    if advisory:
        say(
            "note: this database user can change the rules themselves, so they are advisory: they guard against "
            "mistakes, not against people; at work: bakeoff db roles"
        )
