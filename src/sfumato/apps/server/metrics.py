"""The metrics of a server, for a monitoring system."""

import time
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from sfumato.serving import Ended, Job, Turn, Worker

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("sfumato_requests", "Requests answered.", ["route", "status"], registry=r)
        self.pictures = Counter("sfumato_pictures", "Pictures made.", registry=r)
        self.cancellations = Counter("sfumato_cancellations", "Jobs cancelled.", registry=r)
        self.refusals = Counter("sfumato_refusals", "Jobs that the client asked for wrongly.", registry=r)
        self.failures = Counter("sfumato_failures", "Jobs failed, by no mistake of the client.", registry=r)
        self.job_seconds = Histogram(
            "sfumato_job_seconds", "Seconds from a job's acceptance to its end.", buckets=SECONDS, registry=r
        )
        self.wait_seconds = Histogram(
            "sfumato_job_wait_seconds", "Seconds until a job's first step.", buckets=SECONDS, registry=r
        )
        ProcessCollector(registry=r)
        self.rows = Histogram(
            "sfumato_rows_per_forward", "Rows of a forward pass.", ["model"], buckets=ROWS, registry=r
        )
        self.seconds = Histogram(
            "sfumato_step_seconds", "Seconds of a step of all that is in flight.", ["model"], registry=r
        )

    def watch(self, worker: Worker) -> None:
        """Show the state that a worker has whenever the metrics are read."""
        r = self.registry
        Gauge("sfumato_queue_pictures", "Pictures that wait.", registry=r).set_function(lambda: worker.queued)
        running = Gauge("sfumato_running_pictures", "Pictures in flight.", registry=r)
        running.set_function(lambda: worker.running)
        row = Gauge("sfumato_row_seconds", "Recent seconds of a row.", ["model"], registry=r)
        for name in worker.names:
            row.labels(name).set_function(partial(worker.seconds_per_row, name))

    def count_turn(self, turn: Turn) -> None:
        if turn.forwards:
            self.rows.labels(turn.model).observe(turn.rows / turn.forwards)
            self.seconds.labels(turn.model).observe(turn.seconds)

    def count_end(self, job: Job, ended: Ended) -> None:
        self.pictures.inc(sum(x is not None for x in job.pictures))
        self.job_seconds.observe(time.time() - job.created)
        if job.wait_seconds is not None:
            self.wait_seconds.observe(job.wait_seconds)
        match ended.outcome:
            case "cancelled":
                self.cancellations.inc()
            case "refused":
                self.refusals.inc()
            case "failed":
                self.failures.inc()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
