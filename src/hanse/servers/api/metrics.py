"""The node's figures in Prometheus' text form.

A registry of its own, filled at each scrape from what the parts count: nothing is registered
globally, and nothing here is called while events flow.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from hanse.counters import Family, Histogram


class Renderer:
    """Turns families into text; adds the process's own (CPU, memory, open files)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._found: Iterable[Family] = ()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, families: Iterable[Family]) -> bytes:
        """The text of one scrape."""
        self._found = families
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """prometheus_client asks for the families."""
        return (_metric(found) for found in self._found)


def _metric(found: Family) -> Metric:
    labels = [found.label] if found.label else []
    if found.kind == "histogram":
        metric = HistogramMetricFamily(found.name, found.about, labels=labels)
        for word, value in found.values.items():
            assert isinstance(value, Histogram)
            metric.add_metric([word] if labels else [], value.buckets(), sum_value=value.total)
        return metric
    kind = CounterMetricFamily if found.kind == "counter" else GaugeMetricFamily
    plain = kind(found.name, found.about, labels=labels)
    for word, value in found.values.items():
        assert not isinstance(value, Histogram)
        plain.add_metric([word] if labels else [], value)
    return plain
