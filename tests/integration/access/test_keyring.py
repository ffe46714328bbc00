"""Keys in PostgreSQL: in use, revoked, guarded; and the keyring of a process."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from bakeoff.access import store
from bakeoff.access.keyring import AGE, SOON, Keyring
from bakeoff.access.make import ENTROPY, make_key
from bakeoff.adapters.postgres import Connection, Database
from bakeoff.errors import UsageError
from stages import Clock

NOW = datetime(2025, 1, 6, tzinfo=UTC)


def made(name: str = "shop", seed: int = 1) -> tuple[store.ApiKey, str]:
    return make_key(name, "application", entropy=bytes([seed]) * ENTROPY, now=NOW)


def test_a_name_is_free_again_once_its_key_is_revoked(scratch: Connection) -> None:
    (first, _), (second, _) = made(seed=1), made(seed=2)
    store.insert_key(scratch, first)
    with pytest.raises(UsageError, match="there is a key 'shop' in use"):
        store.insert_key(scratch, second)
    assert store.revoke(scratch, "shop", now=NOW)
    assert not store.revoke(scratch, "shop", now=NOW)
    store.insert_key(scratch, second)
    assert [key.key_id for key in store.keys_in_use(scratch)] == [second.key_id]
    assert [key.revoked_at for key in store.all_keys(scratch)] == [NOW, None]
    assert store.keys_in_use(scratch) == [second]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("update api_keys set role = 'approver'", "cannot be changed, only revoked"),
        ("update api_keys set hash = salt || salt", "cannot be changed, only revoked"),
        ("update api_keys set revoked_at = null", "was revoked and stays so"),
        ("delete from api_keys", "is revoked, not removed"),
        ("truncate api_keys", "is revoked, not removed"),
    ],
)
def test_the_database_refuses_to_change_a_key(scratch: Connection, change: str, words: str) -> None:
    store.insert_key(scratch, made()[0])
    store.revoke(scratch, "shop", now=NOW)
    with pytest.raises(psycopg.DatabaseError, match=words), scratch.transaction():
        scratch.execute(change.encode())


def test_the_keyring_learns_forgets_and_writes_the_last_use(dsn: str) -> None:
    db, clock = Database(dsn, "exp"), Clock(NOW)
    ring = Keyring(db, clock=clock)
    assert ring.is_stale()
    ring.refresh()
    assert ring.is_empty
    kept, text = made()
    with db.transaction() as conn:
        store.insert_key(conn, kept)
    assert ring.find(text) is None
    assert not ring.is_stale(missed=True), "not twice in a second, whatever people send"
    clock.now += SOON
    assert ring.is_stale(missed=True)
    ring.refresh()
    assert ring.find(text) == kept
    assert ring.find(text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    ring.refresh()
    with db.transaction() as conn:
        assert [key.last_used_at for key in store.all_keys(conn)] == [clock.now]
        store.revoke(conn, kept.key_id, now=clock.now)
    assert not ring.is_stale()
    clock.now += AGE
    assert ring.is_stale()
    ring.refresh()
    assert ring.find(text) is None
    db.close()


def test_the_last_use_is_written_once_a_minute(dsn: str) -> None:
    db, clock = Database(dsn, "exp"), Clock(NOW)
    ring, (kept, text) = Keyring(db, clock=clock), made()
    with db.transaction() as conn:
        store.insert_key(conn, kept)
    seen = set()
    for _ in range(5):
        ring.refresh()
        ring.find(text)
        clock.now += timedelta(seconds=20)
        ring.refresh()
        with db.transaction() as conn:
            seen |= {key.last_used_at for key in store.all_keys(conn)}
    assert seen == {NOW, NOW + timedelta(seconds=60)}
    db.close()
