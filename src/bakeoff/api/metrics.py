"""What Prometheus may ask for. Labels are names of ours and of policies, never what a stranger sent."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


COUNTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "decisions": (
        "Decisions: the assigned version, the one that answered, and why another did",
        ("policy", "version", "served", "fallback"),
    ),
    "answered_again": ("Stored answers that were given to a retry", ("policy",)),
    "failed": ("Requests that nobody answered, by the class of the error", ("policy", "reason")),
    "late": ("Answers that were left behind at the deadline", ("policy", "version")),
    "over_cost": ("Answers that were dearer than the limit", ("policy", "version")),
    "loads": ("Models that were loaded, or could not be", ("policy", "version", "result")),
    "frees": ("Models that were let go", ("policy", "version")),
    "events": ("Events by what became of them", ("task", "status")),
    "polls": ("Looks at what serves", ("result",)),
}
"""What `Service` counts: name -> what it means and its labels."""


class Metrics:
    """Of one server. With a `folder`, of all its processes together: each writes its own files there."""

    def __init__(self, folder: str | None = None) -> None:
        self._own = self._all = CollectorRegistry()
        self._counts = {
            name: Counter(f"bakeoff_{name}", meaning, labels, registry=self._own)
            for name, (meaning, labels) in COUNTED.items()
        }
        self._answers = Counter(
            "bakeoff_http_requests", "Answers by route and status", ["method", "route", "status"], registry=self._own
        )
        self._seconds = Histogram(
            "bakeoff_http_request_seconds", "Time until the answer", ["route"], buckets=SECONDS, registry=self._own
        )
        self._problems = Counter("bakeoff_problems", "Problem documents by type", ["type"], registry=self._own)
        if folder is not None:
            self._all = CollectorRegistry()
            MultiProcessCollector(self._all, path=folder)  # type: ignore[no-untyped-call]  # the library's

    def on_answer(self, scope: Scope, status: int, seconds: float) -> None:
        """A request got its answer."""
        route = getattr(scope.get("route"), "path", "none")
        self._answers.labels("any" if route == "none" else scope["method"], route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if "bakeoff.problem" in scope:
            self._problems.labels(scope["bakeoff.problem"]).inc()

    def on_count(self, name: str, labels: Mapping[str, str]) -> None:
        """What `Service` counts. A policy that is not there is a stranger's word, so it is no label."""
        if labels.get("reason") == "NotFound":
            labels = {**labels, "policy": "none"}
        self._counts[name].labels(**labels).inc()

    def text(self) -> bytes:
        return generate_latest(self._all)
