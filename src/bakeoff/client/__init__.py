"""The Python client of `bakeoff serve`, for applications. Needs `httpx2` and imports nothing heavy."""

from bakeoff.client.clients import AsyncClient, Client
from bakeoff.client.model import ApiError, RateLimited, Receipt, Rejected, Unavailable
from bakeoff.client.protocol import Retry
from bakeoff.task import Served

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "RateLimited",
    "Receipt",
    "Rejected",
    "Retry",
    "Served",
    "Unavailable",
]
