"""``bakeoff keys``"""

import secrets
from datetime import datetime
from typing import Any, cast, get_args

import click

from bakeoff import lifecycle
from bakeoff.access.make import ENTROPY
from bakeoff.access.model import ApiKey, KeyRole
from bakeoff.cli.session import answer, as_json, deps, table


@click.group()
def keys() -> None:
    """Keys of the HTTP API: who may call it, and for what.

    \b
    Example: bakeoff keys create --role application --name shop
    """


@keys.command()
@click.option("--role", type=click.Choice(get_args(KeyRole)), required=True, help="What its holder may do.")
@click.option("--name", required=True, help="Whose it is, for instance the application that holds it.")
@as_json
def create(role: str, name: str, as_json: bool) -> None:
    """Make a key. It is shown once: the database keeps only a hash of it.

    \b
    application   asks for decisions and sends events, sees nothing else
    viewer        reads where policies stand, and /metrics
    operator      reads, and runs experiments
    approver      reads, and signs

    \b
    Example: bakeoff keys create --role application --name shop
    """
    with deps() as wired:
        kept, text = lifecycle.create_key(wired, name, cast(KeyRole, role), entropy=secrets.token_bytes(ENTROPY))
    told = (
        f"{text}\n\n{kept.name} may call the API with it, as {kept.role}. It is shown this once; keep it as a secret."
    )
    answer(as_json, _body(kept) | {"key": text}, f"{told}\nnext: bakeoff serve")


@keys.command("list")
@as_json
def list_(as_json: bool) -> None:
    """All keys that were ever made, oldest first.

    \b
    Example: bakeoff keys list
    """
    with deps() as wired:
        known = lifecycle.list_keys(wired)
    text = table([_row(key) for key in known]) or "no key yet\nnext: bakeoff keys create --role application --name shop"
    answer(as_json, {"keys": [_body(key) for key in known]}, text)


@keys.command()
@click.argument("name")
@as_json
def revoke(name: str, as_json: bool) -> None:
    """Take a key back, by its name or id. Servers that run refuse it within seconds.

    \b
    Example: bakeoff keys revoke shop
    """
    with deps() as wired:
        was_in_use = lifecycle.revoke_key(wired, name)
    answer(
        as_json,
        {"name": name, "revoked": was_in_use},
        f"{name} is revoked" if was_in_use else f"{name} was revoked before",
    )


def _row(key: ApiKey) -> dict[str, Any]:
    state = "in use" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    return {
        "name": key.name,
        "id": key.key_id,
        "role": key.role,
        "created": f"{key.created_at:%Y-%m-%d %H:%M}",
        "last used": None if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}",
        "state": state,
    }


def _body(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role,
        "created_at": key.created_at.isoformat(),
        "last_used_at": _iso(key.last_used_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
