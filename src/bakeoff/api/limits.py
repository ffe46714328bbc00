"""How often a key may ask: a token bucket for each (the leaky bucket as a meter, ITU-T I.371)."""

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(kw_only=True, slots=True)
class Buckets:
    """Of one process: several replicas let through as many times more. Not thread-safe: the event loop asks."""

    rate: float  # tokens that flow in, per second
    burst: int  # tokens that a bucket holds
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def take(self, name: str, now: float) -> float:
        """Takes one token of `name` at `now` (seconds of a monotonic clock). 0.0, or seconds until there is one."""
        bucket = self._buckets.setdefault(name, _Bucket(tokens=float(self.burst), at=now))
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self.rate
        bucket.tokens -= 1
        return 0.0
