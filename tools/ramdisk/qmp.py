"""QEMU's monitor protocol over one end of a socket pair: commands and events."""

import json
import socket
import time
from typing import Any


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class Qmp:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self._message(30)  # the greeting
        self("qmp_capabilities")

    def __call__(self, command: str, timeout_s: float = 30, **arguments: Any) -> Any:
        """Execute a command and return its result; events that arrive meanwhile are kept."""
        request = {"execute": command, "arguments": arguments}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"QEMU is gone: {error}") from None
        while True:
            message = self._message(timeout_s)
            if "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self.events.append(message)

    def wait_event(self, name: str, timeout_s: float = 30) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        while True:
            for index, event in enumerate(self.events):
                if event.get("event") == name:
                    return self.events.pop(index)
            self.events.append(self._message(end - time.monotonic()))

    def _message(self, timeout_s: float) -> dict[str, Any]:
        self._connection.settimeout(max(timeout_s, 0.01))
        try:
            while b"\n" not in self._buffer:
                piece = self._connection.recv(1 << 16)
                if not piece:
                    raise QmpError("QEMU is gone")
                self._buffer += piece
        except OSError as error:
            raise QmpError(f"QEMU does not respond: {error}") from None
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
