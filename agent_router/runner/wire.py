"""Frames between the front and the runner over a local stream socket.

A frame is two 32-bit lengths, a JSON head and a raw body. The body is never parsed here: it
is the request a plugin gets, or what it printed.
"""

import json
import struct
from typing import Any

LENGTHS = struct.Struct("!II")
MAX_HEAD = 16 << 20
MAX_BODY = 1 << 30

Head = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode


def pack(head: Head, body: bytes = b"") -> bytes:
    return pack_head(head, len(body)) + body


def pack_head(head: Head, length: int) -> bytes:
    """The part of a frame before its body of `length` bytes."""
    text = _encode(head).encode()
    return LENGTHS.pack(len(text), length) + text


class Frames:
    """Bytes go in as they arrive, whole frames come out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """All frames that are complete now, as (head text, body)."""
        if self._missing > len(data):  # a large body: collect, join once
            self._parts.append(data)
            self._missing -= len(data)
            return []
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts = []
        elif self._buffer:
            data = self._buffer + data
        self._buffer, self._missing = b"", 0
        frames = []
        start = 0
        while len(data) - start >= LENGTHS.size:
            head_length, body_length = LENGTHS.unpack_from(data, start)
            if head_length > MAX_HEAD or body_length > MAX_BODY:
                raise ValueError("not a frame of ours")
            head_start = start + LENGTHS.size
            body_start = head_start + head_length
            end = body_start + body_length
            if end > len(data):
                self._missing = end - len(data)
                break
            frames.append((data[head_start:body_start], data[body_start:end]))
            start = end
        if start < len(data):
            if self._missing:
                self._parts = [data[start:]]
            else:
                self._buffer = data[start:]
        return frames
