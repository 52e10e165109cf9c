"""Counters and gauges of a licence service in Prometheus' form. Labels are routes, methods, statuses, duties: never a name or an id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Metrics:
    """The metrics of one process.

    Args:
        gauges: asked for their values when the metrics are read: name to value.
    """

    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        self._registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._requests = Counter("shuyao_http_requests", "HTTP requests", labels, registry=self._registry)
        self._seconds = Histogram(
            "shuyao_http_seconds", "Seconds to answer", ["route"], registry=self._registry
        )
        self._verdicts = Counter(
            "shuyao_licence_verdicts", "Verdicts given online", ["verdict"], registry=self._registry
        )
        self._registry.register(_Gauges(gauges))
        # looking labels up costs more than counting; routes, methods and statuses are few
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._known_verdicts: dict[str, Counter] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        known = self._known.get((method, route, status))
        if known is None:
            known = (self._requests.labels(method, route, str(status)), self._seconds.labels(route))
            self._known[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def note_verdict(self, verdict: str) -> None:
        """Count one verdict."""
        known = self._known_verdicts.get(verdict)
        if known is None:
            known = self._known_verdicts[verdict] = self._verdicts.labels(verdict)
        known.inc()

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[Any]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"shuyao_licence_{name}", name.replace("_", " "), value=value)
