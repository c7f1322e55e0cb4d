"""What a server counts about itself, as Prometheus reads it."""

import os

import prometheus_client as prometheus
from prometheus_client import multiprocess

from pyrite.core.types import Scores

CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server. With several worker processes `$PROMETHEUS_MULTIPROC_DIR` adds theirs up."""

    def __init__(self) -> None:
        self._registry = prometheus.CollectorRegistry()
        here = self._registry
        self.requests = prometheus.Counter(
            "pyrite_requests", "Requests to POST /score by status of HTTP.", ["status"], registry=here
        )
        self.images = prometheus.Counter(
            "pyrite_images", "Images by reward and outcome: scored or unscored.", ["reward", "outcome"], registry=here
        )
        self.request_seconds = prometheus.Histogram(
            "pyrite_request_seconds", "From the head of a request to its answer.", buckets=_SECONDS, registry=here
        )
        self.batch_images = prometheus.Histogram(
            "pyrite_batch_images", "Images that the rewards saw together.", buckets=_IMAGES, registry=here
        )
        self.reward_seconds = prometheus.Histogram(
            "pyrite_reward_seconds", "One call of a reward.", ["reward"], buckets=_SECONDS, registry=here
        )
        self.waiting_images = prometheus.Gauge(
            "pyrite_waiting_images", "Images accepted and not yet scored.", multiprocess_mode="livesum", registry=here
        )

    def count_scores(self, name: str, scores: Scores, seconds: float) -> None:
        """One call of a reward."""
        self.reward_seconds.labels(name).observe(seconds)
        self.images.labels(name, "unscored").inc(len(scores.reasons))
        self.images.labels(name, "scored").inc(len(scores) - len(scores.reasons))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return prometheus.generate_latest(self._registry)
        everybody = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return prometheus.generate_latest(everybody)
