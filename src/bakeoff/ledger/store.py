"""The ledger's entries, read from the view `offline_online_ledger`. Nothing is written here."""

from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection

from bakeoff.ledger.model import Entry

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


def entries(conn: Conn, policy_id: str) -> list[Entry]:
    """In no order."""
    return [Entry(**row) for row in queries.entries(conn, policy_id=policy_id)]
