"""Keys in PostgreSQL. The caller owns the transaction."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
from psycopg import Connection

from bakeoff.access.model import ApiKey
from bakeoff.errors import UsageError

queries = aiosql.from_path(Path(__file__).with_name("queries.sql"), "psycopg")
Conn = Connection[dict[str, Any]]


def insert_key(conn: Conn, key: ApiKey) -> None:
    """Raises UsageError where a key in use has the name."""
    columns = {name: getattr(key, name) for name in ("key_id", "name", "role", "salt", "hash", "created_at")}
    if not queries.insert_key(conn, **columns):
        raise UsageError(
            f"there is a key {key.name!r} in use",
            cure=f"take another name, for instance {key.name}-2, or: bakeoff keys revoke {key.name}",
        )


def all_keys(conn: Conn) -> list[ApiKey]:
    """Revoked ones too, oldest first."""
    return [_key(row) for row in queries.keys(conn)]


def keys_in_use(conn: Conn) -> list[ApiKey]:
    return [_key(row) for row in queries.keys_in_use(conn)]


def revoke(conn: Conn, name: str, *, now: datetime) -> bool:
    """By name or id. False where no key in use is called so."""
    return bool(queries.revoke(conn, name=name, now=now))


def set_last_used(conn: Conn, key_id: str, at: datetime) -> None:
    queries.set_last_used(conn, key_id=key_id, at=at)


def _key(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.__slots__})
