"""What happened: decisions of policies and what people did with them, append-only.

An application's own way in is `append`."""

from bakeoff.events.application import append
from bakeoff.events.effective import effective

__all__ = ["append", "effective"]
