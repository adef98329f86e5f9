"""SIGTERM and SIGINT while training: finish the step, save, end with the signal's exit code."""

import signal
import threading
from types import FrameType
from typing import Any

from sfumato.errors import SfumatoError


class TrainingStopped(SfumatoError):
    """A signal ended the training after a checkpoint; `exit_code` is 128 plus the signal's number."""

    def __init__(self, message: str, number: signal.Signals) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_code = 128 + number


class StopSignals:
    """Notes the first SIGTERM or SIGINT; a second one has its usual effect.

    Python handles signals in the main thread alone: in another thread this notes none.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
