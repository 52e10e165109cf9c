"""Counters and gauges in Prometheus' form. Labels are routes, methods, statuses and stages: never a name or an id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exchange.market import Market


class Metrics:
    """The metrics of one application."""

    def __init__(self, market: Market) -> None:
        self._registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("shuyao_http_requests", "HTTP requests", labels, registry=self._registry)
        self.seconds = Histogram(
            "shuyao_http_seconds", "Seconds to answer", ["route"], registry=self._registry
        )
        self._registry.register(_MarketCollector(market))

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)


class _MarketCollector(Collector):
    """Reads the market when metrics are asked for, and not before."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def describe(self) -> Iterable[Any]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        market = self._market
        stages = GaugeMetricFamily("shuyao_requests", "Requests at each stage", labels=["stage"])
        for stage, count in market.store.stage_counts().items():
            stages.add_metric([stage], count)
        yield stages
        gauges = {
            "shuyao_chain_head": ("Newest indexed block", market.follower.head),
            "shuyao_chain_lag_seconds": ("Seconds since the chain was read", market.follower.lag_s),
            "shuyao_transactions_waiting": ("Transactions not final yet", market.chain.waiting_count()),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
