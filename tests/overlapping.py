"""Two people at once, in an order that the test says: what the first one wrote is not committed yet when the second one
comes, who either waits for it or is through before."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg

from bakeoff.adapters.postgres import Connection, Database
from bakeoff.lifecycle import Deps

BLOCKED = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


class Outcome:
    """What the second one got: a result, or what was raised."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self._what = what
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.result = self._what()
        except Exception as error:
            self.error = error


class First(Database):
    """Before it commits the first thing that it wrote, `second` begins."""

    def __init__(self, dsn: str, second: Outcome) -> None:
        super().__init__(dsn, "exp")
        self._second, self._begun = second, False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as conn:
            yield conn
            row = conn.execute("select pg_current_xact_id_if_assigned() is not null as wrote").fetchone()
            if row is not None and row["wrote"] and not self._begun:
                self._begun = True
                self._let_in()

    def _let_in(self) -> None:
        self._second.thread.start()
        with psycopg.connect(self.dsn, autocommit=True) as observer:
            while self._second.thread.is_alive() and observer.execute(BLOCKED).fetchone() is None:
                self._second.thread.join(0.01)


def at_once(deps: Deps, first: Callable[[Deps], Any], second: Callable[[Deps], Any]) -> tuple[Any, Outcome]:
    """What `first` got, and what `second` did, who came just before the first one's commit."""
    db = deps.db
    assert isinstance(db, Database)
    theirs = Database(db.dsn, "exp")
    outcome = Outcome(lambda: second(replace(deps, db=theirs)))
    ours = First(db.dsn, outcome)
    try:
        got = first(replace(deps, db=ours))
        assert ours._begun, "the first one wrote nothing"
        outcome.thread.join(60)
        assert not outcome.thread.is_alive()
        return got, outcome
    finally:
        ours.close()
        theirs.close()
