"""Pillow's errors and warnings, and the files that it reads by an extension of its own.

A picture that comes from outside may make Pillow warn of anything in it; what it says is not for the user of
sfumato, who gets the pixels or one line of error.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, features

from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.files import one_line

_lock = threading.Lock()
_filters = ExitStack()  # entered while any thread decodes
_threads = 0


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns an error of Pillow on a bad file into a UsageError of one line; its warnings are dropped.

    Pillow's decoders raise errors of a dozen types on crafted bytes, hence `except Exception`.
    """
    try:
        with _without_warnings():
            yield
    except (SfumatoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise UsageError(f"{name} has more than the {limit} pixels allowed: make it smaller") from error
    except Exception as error:
        why = one_line(error)
        raise UsageError(f"{name} is damaged or cut short ({why}): save or download it again") from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drops Pillow's warnings. Filters are the process's: the first thread sets them, the last restores."""
    global _threads  # noqa: PLW0603
    with _lock:
        if not _threads:
            _filters.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
        _threads += 1
    try:
        yield
    finally:
        with _lock:
            _threads -= 1
            if not _threads:
                _filters.close()


def enable(found: str, name: str) -> None:
    """Make Pillow ready for a format; UsageError where this installation does not read it."""
    if found == "HEIF":
        try:
            import pillow_heif
        except ImportError as error:
            raise UsageError(
                f"{name} is HEIC, which needs pillow-heif: pip install 'sfumato[heic]', or save it as JPEG"
            ) from error
        pillow_heif.register_heif_opener(thumbnails=False)
    elif found == "AVIF" and not features.check("avif"):
        raise UsageError(f"{name} is AVIF, which Pillow reads from 11.3 on: pip install -U pillow")
