"""The engine under load: one worker owns the device and makes the pictures of everybody's requests.

The contract at this seam: recipes go in from any thread, with the inputs they name; pictures, progress and
errors come out of the worker's thread, through listeners that must not block. Every accepted job ends once:
done, failed or cancelled.
"""

from sfumato.serving.jobs import Ended, Event, Job, Made, Part, State, Stepped
from sfumato.serving.worker import Limits, LoadingError, QueueFullError, StoppingError, Turn, Worker

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
