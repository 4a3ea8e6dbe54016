"""SIGTERM as an exception: how a long-running plugin hears of a cancel or of its time limit."""

import signal
from types import FrameType
from typing import NoReturn


class Cancelled(BaseException):
    """Raised in the main thread wherever it is, mostly in a read from the network."""


def raise_on_sigterm() -> None:
    """The next SIGTERM raises Cancelled, later ones are ignored: they must not interrupt the cleanup."""
    signal.signal(signal.SIGTERM, _raise)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    ignore_sigterm()
    raise Cancelled
