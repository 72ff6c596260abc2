"""Pages that Prometheus reads, of counted numbers and of gauges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from app.telemetry.metrics import METRICS, Metric, Metrics

#: The format's version: without it a Prometheus of version 3 refuses the page.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page(families: Iterable[Any]) -> str:
    """The text of these families."""
    from prometheus_client import generate_latest

    return generate_latest(registry(families)).decode()


def registry(families: Iterable[Any]) -> Any:
    """A registry of these families alone, for what pushes or serves one."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class Found(Collector):
        def collect(self) -> Iterable[Any]:
            return families

    made = CollectorRegistry(auto_describe=False)
    made.register(Found())
    return made


def gauge(name: str, told: str, *labels: str) -> Any:
    """A family of gauges, or one gauge where there are no labels."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, told, labels=labels)


def counted(metrics: Metrics) -> Iterator[Any]:
    """The families of what a process has counted; those that have nothing yet are left out."""
    families: dict[str, Any] = {}
    for metric, labels, counts in metrics.read():
        family = families.setdefault(metric.name, _family(metric))
        if isinstance(counts, list):
            *found, total = counts
            bounds = [*map(str, metric.buckets), "+Inf"]
            buckets = list(zip(bounds, accumulate(found), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=total)
        else:
            family.add_metric(labels, counts)
    yield from (families[name] for name in METRICS if name in families)


def _family(metric: Metric) -> Any:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    kind = HistogramMetricFamily if metric.buckets else CounterMetricFamily
    return kind(metric.name, metric.told, labels=metric.labels)
