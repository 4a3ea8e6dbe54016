"""Read a file of whole lines that another process appends to."""

from __future__ import annotations

import os

from agent_router.ipc.state import open_file

CHUNK = 64 << 10


class LineReader:
    """Whole lines of a file, from where the last take() ended; none if it is not there (yet)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._position = 0
        self._rest = b""

    def take(self, over: bool = False) -> list[bytes]:
        """The next lines, about CHUNK bytes at the most; with `over` all the rest, also half a line."""
        lines: list[bytes] = []
        while data := self._read():
            self._position += len(data)
            *found, self._rest = (self._rest + data).split(b"\n")
            lines += (line + b"\n" for line in found)
            if lines and not over:
                return lines
        if over and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def _read(self) -> bytes:
        try:
            with open(open_file(self.path), "rb", 0) as file:
                if os.fstat(file.fileno()).st_size <= self._position:
                    return b""
                file.seek(self._position)
                return file.read(CHUNK)
        except OSError:
            return b""
