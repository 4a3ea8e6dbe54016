"""What a plugin waits at until the test lets it go, so that nobody guesses how long a command has to last."""

import os
from pathlib import Path

MANY = 64


class Gate:
    """A FIFO that the test holds open: a plugin that is given it as `until` reads one byte of it and goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDWR)

    def __str__(self) -> str:
        return str(self.path)

    def release(self, count: int = MANY) -> None:
        """Let `count` plugins go, those that are there and those to come."""
        os.write(self._fd, b"\n" * count)

    def close(self) -> None:
        """Whoever waits still is let go."""
        os.close(self._fd)
        self.path.unlink()
