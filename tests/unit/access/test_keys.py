"""A key: what is kept of it, and what is taken for one."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.access.make import ENTROPY, is_key, make_key, read_key
from bakeoff.access.model import RIGHTS
from bakeoff.errors import UsageError

NOW = datetime(2025, 1, 6, tzinfo=UTC)
entropies = st.binary(min_size=ENTROPY, max_size=ENTROPY)


@given(entropies)
def test_a_key_is_read_back_and_is_itself(entropy: bytes) -> None:
    kept, text = make_key("shop", "application", entropy=entropy, now=NOW)
    read = read_key(text)
    assert read is not None
    assert read[0] == kept.key_id
    assert is_key(kept, read[1])


@given(entropies)
def test_nothing_that_is_kept_shows_the_secret(entropy: bytes) -> None:
    kept, text = make_key("shop", "application", entropy=entropy, now=NOW)
    secret = text[len("bko_") + 13 :]
    assert secret not in repr(kept)
    assert entropy[22:] not in (kept.salt, kept.hash)


@given(entropies, entropies)
def test_another_secret_or_another_salt_is_another_key(one: bytes, other: bytes) -> None:
    (kept, text), (_, stranger) = (make_key("shop", "viewer", entropy=each, now=NOW) for each in (one, other))
    ours, theirs = read_key(text), read_key(stranger)
    assert ours is not None
    assert theirs is not None
    assert is_key(kept, theirs[1]) == (ours[1] == theirs[1])
    assert not is_key(replace(kept, salt=bytes(b ^ 1 for b in kept.salt)), ours[1])


@pytest.mark.parametrize("text", ["", "bko", "bko_", "bko_0_0", "Bearer x", "bko_" + "0" * 12 + "_" + "!" * 43])
def test_what_is_no_key_is_none(text: str) -> None:
    assert read_key(text) is None


@pytest.mark.parametrize("name", ["", "Shop", "my shop", "-shop", "x" * 64, "ä"])
def test_a_name_that_cannot_be_typed_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected lower-case letters"):
        make_key(name, "application", entropy=bytes(ENTROPY), now=NOW)


def test_who_builds_does_not_sign_and_an_application_reads_nothing() -> None:
    assert all(not {"operate", "approve"} <= rights for rights in RIGHTS.values())
    assert RIGHTS["application"] == {"decide"}
