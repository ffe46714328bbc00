"""``bakeoff approve``"""

import click

from bakeoff import lifecycle
from bakeoff.cli.session import answer, as_json, deps


@click.command()
@click.argument("name")
@click.option(
    "--report", "report_digest", required=True, help="Digest of the gate report, as `bakeoff gate` prints it."
)
@click.option("--by", "signed_by", required=True, help="Your name.")
@click.option("--note", required=True, help="What you looked at.")
@as_json
def approve(name: str, report_digest: str, signed_by: str, note: str, as_json: bool) -> None:
    """Sign one gate report: the version may then meet at most 10 % of the units in a test.

    The signature covers the report, the dataset, the rules and the policy spec; it is good for 30 days.

    \b
    Example: bakeoff approve planner_policy/3 --report sha256:... --by Ada --note "read the table"
    """
    with deps() as wired:
        approval = lifecycle.approve(wired, name, report_digest=report_digest, signed_by=signed_by, note=note)
    body = {
        "policy_version": name,
        "approval_id": approval.approval_id,
        "report_digest": approval.report_digest,
        "signed_by": approval.signed_by,
        "signed_at": approval.signed_at.isoformat(),
        "expires_at": None if approval.expires_at is None else approval.expires_at.isoformat(),
    }
    until = "" if approval.expires_at is None else f", good until {approval.expires_at:%Y-%m-%d}"
    text = f"{name} is approved by {approval.signed_by}{until}\nnext: bakeoff experiment start {name} --spec FILE"
    answer(as_json, body, text)
