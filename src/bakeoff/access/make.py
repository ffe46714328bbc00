"""A new key, and whether a text is one.

A key is 256 random bits, so nobody can guess it from its hash, however fast that is: a slow hash for passwords would
only slow every request down. The salt keeps two tables from being compared, and the comparison takes the same time
wherever two hashes part."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from datetime import datetime

from bakeoff.access.model import ApiKey, KeyRole
from bakeoff.errors import UsageError

PREFIX = "bko"
"""So that a scanner for secrets finds keys in code."""
ENTROPY = 6 + 16 + 32
"""Random bytes that a key is made of: its id, its salt, the secret."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")


def make_key(name: str, role: KeyRole, *, entropy: bytes, now: datetime) -> tuple[ApiKey, str]:
    """What is kept of a new key, and the key as its holder gets it. `entropy`: `ENTROPY` random bytes."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"key name {name!r}; expected lower-case letters, digits, '.', '-' and '_', up to 63",
            cure="name the application that will hold it: --name shop",
        )
    key_id, salt, secret = entropy[:6].hex(), entropy[6:22], _spelt(entropy[22:ENTROPY])
    kept = ApiKey(key_id=key_id, name=name, role=role, salt=salt, hash=_hash(salt, secret), created_at=now)
    return kept, f"{PREFIX}_{key_id}_{secret}"


def read_key(text: str) -> tuple[str, str] | None:
    """(key id, secret) of a text that looks like a key; None for any other."""
    found = _KEY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def is_key(kept: ApiKey, secret: str) -> bool:
    """Whether `secret` is that of `kept`."""
    return hmac.compare_digest(kept.hash, _hash(kept.salt, secret))


def _spelt(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def _hash(salt: bytes, secret: str) -> bytes:
    return hashlib.blake2b(secret.encode(), key=salt, digest_size=32).digest()
