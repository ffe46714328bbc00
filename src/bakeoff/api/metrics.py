"""What Prometheus may ask for. Labels are names of ours and of policies, never what a stranger sent."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Of one server. With a `folder`, of all its processes together: each writes its own files there."""

    def __init__(self, folder: str | None = None) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bakeoff_http_requests",
            "Answers by route and status",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "bakeoff_http_request_seconds", "Time until the answer", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.problems = Counter("bakeoff_problems", "Problem documents by type", ["type"], registry=self.registry)
        self.decisions = Counter(
            "bakeoff_decisions", "Decisions by who was to answer", ["policy", "variant", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.fallbacks = Counter(
            "bakeoff_fallbacks", "Why a last resort answered", ["policy", "reason"], registry=self.registry
        )
        self.events = Counter(
            "bakeoff_events", "Events by what became of them", ["task", "status"], registry=self.registry
        )
        self.other = Counter("bakeoff_serving", "What else serving counts", ["what"], registry=self.registry)
        self._all = self.registry
        if folder is not None:
            self._all = CollectorRegistry()
            MultiProcessCollector(self._all, path=folder)  # type: ignore[no-untyped-call]

    def on_answer(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.requests.labels(scope["method"] if route != "none" else "any", route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
        if "bakeoff.problem" in scope:
            self.problems.labels(scope["bakeoff.problem"]).inc()

    def on_count(self, name: str, labels: Mapping[str, str]) -> None:
        """What `Service` counts."""
        known = {"decisions": self.decisions, "fallbacks": self.fallbacks, "events": self.events}.get(name)
        if known is None:
            self.other.labels(name).inc()
        else:
            known.labels(**labels).inc()

    def text(self) -> bytes:
        return generate_latest(self._all)
