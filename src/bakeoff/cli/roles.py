"""``bakeoff db roles``"""

from typing import Any

import click

from bakeoff import bootstrap, plugins, settings
from bakeoff.adapters import postgres
from bakeoff.adapters import roles as database_roles
from bakeoff.adapters.roles import Roles
from bakeoff.cli.progress import TerminalProgress
from bakeoff.cli.session import answer, as_json, say


@click.command()
@click.option("--writer", required=True, help="Role of your application and of everybody who trains and tests.")
@click.option("--approver", required=True, help="Role of whoever signs.")
@click.option("--print", "only_print", is_flag=True, help="Print the SQL for somebody who may run it; change nothing.")
@as_json
def roles(writer: str, approver: str, only_print: bool, as_json: bool) -> None:
    """Separate who builds versions from who signs them.

    Makes two roles where they are missing and gives them their rights: the writer may do everything but write
    approvals, rejections and waivers; the approver may read everything and write those. Type it as the owner of the
    tables, again after each `bakeoff db migrate`; then let everybody work as a user who is a member of one of them.

    \b
    Example: bakeoff db roles --writer bakeoff_writer --approver bakeoff_approver
             bakeoff db roles --writer bakeoff_writer --approver bakeoff_approver --print > roles.sql
    """
    found = settings.load()
    with (
        bootstrap.open_deps(found, progress=TerminalProgress()) as wired,
        wired.db.transaction() as conn,
    ):
        others = postgres.task_schemas(conn, plugins.migration_folders())
        names = Roles(writer=writer, approver=approver)
        written = database_roles.statements(conn, found.schema_name, names, others)
        if not only_print:
            for statement in written:
                conn.execute(statement.encode())
    if found.database_url is None:
        say(
            "note: with the embedded PostgreSQL everybody who can open its folder is superuser, so roles are advisory "
            "there; they bind on a server of your own (BAKEOFF_DATABASE_URL)"
        )
    sql = "".join(f"{statement};\n" for statement in written)
    body: dict[str, Any] = {"writer": writer, "approver": approver, "applied": not only_print, "sql": written}
    answer(as_json, body, sql.rstrip() if only_print else _text(writer, approver))


def _text(writer: str, approver: str) -> str:
    return "\n".join(
        [
            f"{writer} may do everything but sign, {approver} may read and sign",
            "next: make a user for each person and for the application, for instance",
            f"  create user app   password '...' in role {writer};",
            f"  create user grace password '...' in role {approver};",
            "and put them into BAKEOFF_DATABASE_URL instead of the owner of the tables. To adopt a first version is to "
            "sign and to",
            f"serve at once: whoever types `bakeoff policy adopt` is a member of both. After `bakeoff db migrate`: "
            f"bakeoff db roles --writer {writer} --approver {approver}",
        ]
    )
