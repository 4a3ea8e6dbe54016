"""Frames over a local stream socket: a message of messages.py and a raw body.

A frame is two 32-bit lengths, the message as JSON, and the body, which is never parsed here: it
is the request a plugin gets, or what it printed.
"""

import json
import struct

from agent_router.ipc.messages import Message

LENGTHS = struct.Struct("!II")
MAX_HEAD = 16 << 20
MAX_BODY = 1 << 30
LARGE = 64 << 10  # a frame that is collected in one piece; joining and cutting would hold its body several times

_encode = json.JSONEncoder(separators=(",", ":")).encode


def pack(message: Message, body: bytes = b"") -> bytes:
    text = _encode(message).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


class Frames:
    """Bytes go in as they arrive, whole frames come out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._large: bytearray | None = None  # a large frame, as far as it is here
        self._missing = 0

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """All frames that are complete now, as (text of the message, body)."""
        frames: list[tuple[bytes, bytes]] = []
        start = 0
        if self._large is not None:
            start = self._missing
            self._large += data if start >= len(data) else data[:start]
            self._missing -= len(data)
            if self._missing > 0:
                return []
            frames.append(_split(self._large))
            self._large = None
        elif self._buffer:
            data = self._buffer + data
        self._buffer = b""
        while len(data) - start >= LENGTHS.size:
            head_length, body_length = LENGTHS.unpack_from(data, start)
            if head_length > MAX_HEAD or body_length > MAX_BODY:
                raise ValueError("not a frame of ours")
            head_start = start + LENGTHS.size
            body_start = head_start + head_length
            end = body_start + body_length
            if end > len(data):
                if end - start < LARGE:
                    break
                self._large, self._missing = bytearray(data[start:]), end - len(data)
                return frames
            frames.append((data[head_start:body_start], data[body_start:end]))
            start = end
        self._buffer = data[start:]
        return frames


def _split(frame: bytearray) -> tuple[bytes, bytes]:
    start = LENGTHS.size + LENGTHS.unpack_from(frame)[0]
    return bytes(frame[LENGTHS.size : start]), bytes(frame[start:])
