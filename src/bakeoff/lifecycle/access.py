"""Who may call the HTTP API."""

from bakeoff.access import store
from bakeoff.access.make import make_key
from bakeoff.access.model import ApiKey, KeyRole
from bakeoff.errors import UsageError
from bakeoff.lifecycle.deps import Deps


def create_key(deps: Deps, name: str, role: KeyRole, *, entropy: bytes) -> tuple[ApiKey, str]:
    """A new key and its text, which is kept nowhere. `entropy`: `make.ENTROPY` bytes of the system's randomness."""
    kept, text = make_key(name, role, entropy=entropy, now=deps.clock())
    with deps.db.transaction() as conn:
        store.insert_key(conn, kept)
    return kept, text


def list_keys(deps: Deps) -> list[ApiKey]:
    with deps.db.transaction() as conn:
        return store.all_keys(conn)


def revoke_key(deps: Deps, name: str) -> bool:
    """By name or id. False where it was revoked before. Raises UsageError where there never was such a key."""
    with deps.db.transaction() as conn:
        if store.revoke(conn, name, now=deps.clock()):
            return True
        known = store.all_keys(conn)
    if not any(name in (key.name, key.key_id) for key in known):
        in_use = ", ".join(key.name for key in known if key.revoked_at is None) or "none"
        raise UsageError(f"no key {name!r}; in use: {in_use}", cure="bakeoff keys list shows them")
    return False
