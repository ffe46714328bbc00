"""What serving processes tell of themselves, on a real PostgreSQL."""

import rows
from bakeoff.adapters.postgres import Connection
from bakeoff.promotion import replicas


def test_a_process_is_one_row_that_says_the_newest(scratch: Connection) -> None:
    ident = {"name": "web-1", "pid": 7}
    one, two = rows.new_id(), rows.new_id()
    replicas.report(scratch, **ident, started_at=rows.at(0), seen_at=rows.at(1), loaded=[one])
    replicas.report(scratch, **ident, started_at=rows.at(0), seen_at=rows.at(2), loaded=[two, one])
    replicas.report(scratch, name="web-0", pid=7, started_at=rows.at(0), seen_at=rows.at(2), loaded=[])
    first, second = replicas.replicas(scratch)
    assert (first.name, first.loaded) == ("web-0", frozenset())
    assert (second.seen_at, second.loaded) == (rows.at(2), frozenset({one, two}))
    replicas.forget(scratch, **ident)
    replicas.forget(scratch, **ident)
    assert [found.name for found in replicas.replicas(scratch)] == ["web-0"]
