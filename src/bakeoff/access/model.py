"""Keys, roles and rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

KeyRole = Literal["application", "viewer", "operator", "approver"]
Right = Literal["decide", "read", "operate", "approve"]

RIGHTS: Mapping[KeyRole, frozenset[Right]] = {
    "application": frozenset({"decide"}),  # asks for decisions, sends events; sees nothing else
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "approver": frozenset({"read", "approve"}),
}
"""What the holder of a key may do. Who builds does not sign: no role has both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is kept of a key. The key itself is shown once and not kept."""

    key_id: str  # 12 hexadecimal digits, the part of the key that may be shown
    name: str  # whose it is, for instance 'shop'
    role: KeyRole
    salt: bytes  # 16
    hash: bytes  # 32
    created_at: datetime
    last_used_at: datetime | None = None  # to the minute
    revoked_at: datetime | None = None

    def may(self, right: Right) -> bool:
        return right in RIGHTS[self.role]
