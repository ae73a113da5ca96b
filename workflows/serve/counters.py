"""Counters for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Counters:
    """Counters of one server. Models that do not exist are counted as one, or names could fill the memory."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "fergan_requests", "Requests answered", ["model", "method", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "fergan_request_seconds",
            "From the head of a request to its answer",
            ["method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._rows = Counter("fergan_rows", "Rows (faces) that networks have seen", ["model"], registry=self._registry)
        self._batches = Histogram(
            "fergan_batch_rows", "Rows that went together", ["model"], buckets=_ROWS, registry=self._registry
        )
        self._queue = Gauge("fergan_queue_rows", "Rows that wait", ["model"], registry=self._registry)
        self.in_flight = Gauge("fergan_requests_in_flight", "Requests not yet answered", registry=self._registry)
        self.body_bytes = Gauge("fergan_body_bytes", "Bytes of bodies in memory", registry=self._registry)

    def watch_queue(self, model: str, length: Callable[[], float]) -> None:
        self._queue.labels(model).set_function(length)

    def batch_observer(self, model: str) -> Callable[[int], None]:
        rows, batches = self._rows.labels(model), self._batches.labels(model)

        def observe(count: int) -> None:
            rows.inc(count)
            batches.observe(count)

        return observe

    def answered(self, model: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(model, method, str(status)).inc()
        self._seconds.labels(method).observe(seconds)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
