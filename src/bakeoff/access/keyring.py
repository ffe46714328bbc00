"""The keys in use, held by one process: a request is known without asking the database."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from bakeoff.access import store
from bakeoff.access.make import is_key, read_key
from bakeoff.access.model import ApiKey

AGE = timedelta(seconds=3)
"""How old what we know may be: a revoked key is refused everywhere after this long."""
SOON = timedelta(seconds=1)
"""A key that we do not know may be new: the database is asked again, but not more often than this."""
USED = timedelta(minutes=1)
"""How often a key's last use is written."""


class Transactions(Protocol):
    """Where connections come from; the block is one transaction."""

    def transaction(self) -> AbstractContextManager[store.Conn]: ...


class Keyring:
    """Thread-safe. Nobody can make it ask the database more than once in `SOON`, whatever keys they send."""

    def __init__(self, db: Transactions, *, clock: Callable[[], datetime]) -> None:
        self._db, self._clock = db, clock
        self._known: dict[str, ApiKey] = {}  # by key id
        self._used: dict[str, datetime] = {}  # last use that is not written yet
        self._read_at: datetime | None = None
        self._lock = Lock()

    def find(self, text: str) -> ApiKey | None:
        """The key in use that `text` is, or None. Asks no database."""
        read = read_key(text)
        kept = None if read is None else self._known.get(read[0])
        if read is None or kept is None or not is_key(kept, read[1]):
            return None
        self._used[kept.key_id] = self._clock()
        return kept

    def is_stale(self, *, missed: bool = False) -> bool:
        """Whether `refresh` is due; `missed`: after a text that is no key we know."""
        limit = SOON if missed else AGE
        return self._read_at is None or self._clock() - self._read_at >= limit

    @property
    def is_empty(self) -> bool:
        """Whether no key is in use at all."""
        return not self._known

    def freshen(self, *, missed: bool = False) -> None:
        """`refresh` where it is still due: of many that wait for it, one does it."""
        with self._lock:
            if self.is_stale(missed=missed):
                self.refresh()

    def refresh(self) -> None:
        """Reads the keys in use and writes when they were last used. Raises Unreachable; what was known is then as
        old as before."""
        now = self._clock()
        with self._db.transaction() as conn:
            known = {key.key_id: key for key in store.keys_in_use(conn)}
            for key_id, at in self._unwritten(known).items():
                store.set_last_used(conn, key_id, at)
        self._known, self._read_at = known, now

    def _unwritten(self, known: dict[str, ApiKey]) -> dict[str, datetime]:
        """In the order of ids, so that two replicas never wait for each other."""
        due, used = {}, dict(self._used)  # a copy at once: `find` goes on meanwhile
        for key_id in sorted(used.keys() & known.keys()):
            at, written = used[key_id], known[key_id].last_used_at
            if written is None or at - written >= USED:
                due[key_id] = at
        return due
