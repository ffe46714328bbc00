"""One error tree. Each class says who has to act, and gives the process its exit code.

    BakeoffError            1   our bug, if nothing below fits
    ├── UsageError          2   the input is wrong: what is, what was expected, what to type
    │   ├── NotFound                there is nothing of that name (404)
    │   └── Conflict                the same was said before, with other content (409)
    ├── Refused             3   a gate, a contract or a rule said no
    └── Unreachable         4   something outside (database, tracker, model files) does not answer

The command line prints `UsageError`, `Refused` and `Unreachable` without a traceback.
"""


class BakeoffError(Exception):
    """Base of all errors that bakeoff raises on purpose. `cure` is what the reader can type or change."""

    exit_code = 1

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        super().__init__(message)
        self.cure = cure

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  {self.cure}" if self.cure else message


class UsageError(BakeoffError):
    """The caller's input is wrong."""

    exit_code = 2


class NotFound(UsageError):  # noqa: N818 - reads as a sentence: raise NotFound(...)
    """Something was named that is not there."""


class Conflict(UsageError):  # noqa: N818 - reads as a sentence: raise Conflict(...)
    """A key or an id was used before, for something else."""


class Refused(BakeoffError):  # noqa: N818 - reads as a sentence: raise Refused(...)
    """A rule of the house said no; the message names the rule and the missing evidence."""

    exit_code = 3


class Unreachable(BakeoffError):  # noqa: N818 - reads as a sentence: raise Unreachable(...)
    """Something outside of bakeoff does not answer."""

    exit_code = 4
