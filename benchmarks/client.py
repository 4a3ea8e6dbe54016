"""A plain HTTP client: one connection per request, and many simultaneous requests."""

import json
import select
import socket
import time
from typing import Any

HOST = "127.0.0.1"


def message(method: str, path: str, body: bytes | None = None) -> bytes:
    """One request as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def split(answer: bytes) -> tuple[int, bytes]:
    """Status and body of a complete response; status 0 if there was none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else (0, b"")


def send(port: int, data: bytes, timeout_s: float = 120) -> tuple[int, bytes]:
    with socket.create_connection((HOST, port), timeout_s) as sock:
        sock.sendall(data)
        parts = []
        while part := sock.recv(1 << 16):
            parts.append(part)
    return split(b"".join(parts))


def get(port: int, path: str) -> tuple[int, bytes]:
    return send(port, message("GET", path))


def call_message(name: str, params: dict[str, Any], query: str = "wait=true") -> bytes:
    """POST /v1/commands/ of agent-router."""
    return message("POST", f"/v1/commands/?{query}", json.dumps({"name": name, "params": params}).encode())


def times_ms(port: int, data: bytes, count: int, good: int = 200) -> list[float]:
    """Durations of `count` consecutive requests, sorted, ms; infinite for any status but `good`."""
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        try:
            answered = send(port, data, 20)[0] == good
        except OSError:
            answered = False
        found.append((time.perf_counter() - begin) * 1e3 if answered else float("inf"))
    return sorted(found)


def percentile(values: list[float], share: float) -> float:
    """`values` must be sorted."""
    return values[min(len(values) - 1, int(len(values) * share))]


class Crowd:
    """Many clients that send their requests at once."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, bytes, list[bytes]]] = {}
        self.answers: list[tuple[int, float, bytes]] = []  # status (0: none), seconds, body
        self._begin = time.perf_counter()
        for data in requests:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((HOST, port))
            self._open[sock.fileno()] = sock, data, []
            self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def run(self, until: float) -> "Crowd":
        """Serve the clients until all have a response or `until` seconds have passed since the start."""
        while self._open and (left := self._begin + until - time.perf_counter()) > 0:
            for fd, events in self._epoll.poll(left):
                self._step(fd, events)
        return self

    def _step(self, fd: int, events: int) -> None:
        sock, data, parts = self._open[fd]
        try:
            if events & select.EPOLLOUT:
                sent = sock.send(data)
                if sent < len(data):
                    self._open[fd] = sock, data[sent:], parts
                else:
                    self._epoll.modify(fd, select.EPOLLIN)
            elif part := sock.recv(1 << 16):
                parts.append(part)
            else:
                self._end(fd)
        except BlockingIOError:
            pass
        except OSError:
            self._end(fd)

    def _end(self, fd: int) -> None:
        sock, _, parts = self._open.pop(fd)
        self._epoll.unregister(fd)
        sock.close()
        status, body = split(b"".join(parts))
        self.answers.append((status, time.perf_counter() - self._begin, body))

    def close(self) -> None:
        """Clients that are still waiting count as unanswered."""
        for fd in list(self._open):
            self._end(fd)
        self._epoll.close()
