"""One error tree: exit codes of the command line, and a message that ends with what to type."""

import pytest

from bakeoff.errors import BakeoffError, Refused, Unreachable, UsageError


@pytest.mark.parametrize(("kind", "code"), [(BakeoffError, 1), (UsageError, 2), (Refused, 3), (Unreachable, 4)])
def test_each_kind_has_its_exit_code(kind: type[BakeoffError], code: int) -> None:
    assert issubclass(kind, BakeoffError)
    assert kind.exit_code == code
    assert str(kind("what is")) == "what is"
    assert str(kind("what is", cure="type this")) == "what is\n  type this"
