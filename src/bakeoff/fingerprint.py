"""Identity by content: canonical JSON, then SHA-256.

Canonical form follows RFC 8785 (JCS) in what bakeoff needs of it: keys sorted, no insignificant white
space, UTF-8, shortest float form (Python's ``repr``), no NaN or infinity.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
    raise TypeError(f"cannot fingerprint a {type(value).__name__}; expected JSON values, dates or mappings")


def canonical_json(value: object) -> str:
    """The one text of a JSON value. Raises TypeError or ValueError for what JSON cannot say."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def as_stored(value: object) -> Any:
    """`value` as it comes back after it was stored as JSON: tuples are lists, keys and dates are text.

    Raises TypeError or ValueError for what JSON or PostgreSQL cannot keep: NaN, infinity, NUL characters, lone
    surrogates, objects."""
    text = canonical_json(value)
    text.encode()  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("a text holds a NUL character, which PostgreSQL cannot store")
    return json.loads(text)


def digest(value: object) -> str:
    """``sha256:<64 hex>`` of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value).encode())


def digest_bytes(data: bytes) -> str:
    """``sha256:<64 hex>`` of raw bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def short(value: str) -> str:
    """First 12 hex characters of a digest, for people."""
    return value.removeprefix("sha256:")[:12]


Json = Mapping[str, Any]
