"""The engine under load: one worker owns the device and makes the pictures of all requests.

The contract at this seam: recipes, with the inputs that they name, are submitted from any thread; pictures,
progress and errors arrive on the worker's thread, through listeners that must not block. Every accepted job
ends once: done, failed or cancelled.
"""

from sfumato.serving.jobs import Ended, Event, Job, Made, Part, State, Stepped
from sfumato.serving.queue import Limits, LoadingError, QueueFullError, StoppingError
from sfumato.serving.worker import Turn, Worker

__all__ = [
    "Ended",
    "Event",
    "Job",
    "Limits",
    "LoadingError",
    "Made",
    "Part",
    "QueueFullError",
    "State",
    "Stepped",
    "StoppingError",
    "Turn",
    "Worker",
]
