"""The metrics of a server, for a monitoring system."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sfumato.serving import Ended, Event, Made, State, Turn, Worker

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("sfumato_requests", "Requests answered.", ["route", "status"], registry=r)
        self.pictures = Counter("sfumato_pictures", "Pictures made.", registry=r)
        self.cancellations = Counter("sfumato_cancellations", "Jobs cancelled.", registry=r)
        self.failures = Counter("sfumato_failures", "Jobs failed.", registry=r)
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

    def count_event(self, event: Event) -> None:
        match event:
            case Made():
                self.pictures.inc()
            case Ended(state=State.CANCELLED):
                self.cancellations.inc()
            case Ended(state=State.FAILED):
                self.failures.inc()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
