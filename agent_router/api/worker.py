"""A gunicorn worker with one loop.

Requests arrive in buffers (no thread waits for a slow sender), TLS handshakes included. The
hot routes are answered in the loop, waiting ones parked; everything else runs as WSGI in a
thread of its own. Every answer ends its connection.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import select
import signal
import socket
import ssl
import sys
import threading
import time
from functools import partial
from typing import Any

from gunicorn import http as gunicorn_http
from gunicorn import sock as gunicorn_sock
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.workers.base import Worker

from agent_router.api import http
from agent_router.api.front import Front
from agent_router.api.hot import Hot
from agent_router.core import tls
from agent_router.core.jsontext import dumps
from agent_router.core.problems import RequestError
from agent_router.runner import libc
from agent_router.runner.loop import Loop

FIRST_BYTES, READ_BYTES = 16 << 10, 256 << 10
MAX_CONNECTIONS, MAX_THREADS = 4000, 256
ARRIVAL_S, LINGER_S, SEND_S = 20.0, 2.0, 30.0
BYTES_PER_S = 64 << 10  # a large body may take this much longer, in either direction
ACCEPTS = 64


class Connection:
    """One client: reading its request, being answered, or waiting parked."""

    __slots__ = ("sock", "addr", "arrival", "until", "tls_done", "unsent", "number", "fd", "state")

    def __init__(self, sock: socket.socket, addr: Any, max_body: int, tls: bool) -> None:
        self.sock = sock
        self.addr = addr
        self.fd = sock.fileno()
        self.arrival = http.Arrival(max_body)
        self.until = time.monotonic() + ARRIVAL_S
        self.tls_done = not tls
        self.unsent: list[memoryview] = []
        self.number = 0
        self.state = "reading"


class LoopWorker(Worker):
    """gunicorn's worker protocol around the loop; `app.agent_dispatcher` is the Dispatcher."""

    def run(self) -> None:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # two workers must not share the port
        libc.return_large_memory()
        sys.setswitchinterval(0.001)  # a thread with a large document must not hold the loop up
        dispatcher = self.wsgi.agent_dispatcher
        self.loop = Loop()
        self.front = Front(self.loop, dispatcher)
        self.hot = Hot(dispatcher, self.front)
        self.max_body = int(dispatcher.settings.max_request_mib * (1 << 20))
        make = partial(gunicorn_sock.ssl_context, self.cfg)
        self.tls = tls.Server(make, dispatcher.settings.state, self.log.warning) if self.cfg.is_ssl else None
        self.connections: dict[int, Connection] = {}
        self.most = min(MAX_CONNECTIONS, _descriptors() // 2)  # the rest is for threads, two each
        self.threads = threading.BoundedSemaphore(min(MAX_THREADS, self.most // 3))
        self.server = self.sockets[0].getsockname()
        threading.stack_size(512 << 10)
        for listener in self.sockets:
            listener.setblocking(False)
            self.loop.watch(listener.fileno(), partial(self._accept, listener))
        self.loop.watch(self.PIPE[0], self._signalled)
        self._beat()
        while self.alive and self.ppid == os.getppid():
            self.loop.run_once()

    def _signalled(self, _: int) -> None:
        os.read(self.PIPE[0], 64)

    def _beat(self) -> None:
        self.notify()
        now = time.monotonic()
        for connection in [item for item in self.connections.values() if item.until < now]:
            self._late(connection)
        self.loop.later(1.0, self._beat)

    def _late(self, connection: Connection) -> None:
        """Over its time: a slow sender is told, a parked client is only watched for leaving."""
        if connection.state == "parked":
            connection.until = float("inf")
            self.loop.watch(connection.fd, lambda _: self._left(connection), select.EPOLLRDHUP)
        elif connection.state == "reading" and connection.tls_done and connection.arrival.begun:
            self._refuse(connection, RequestError(408, "request_slow", "The request did not arrive in time"))
        else:
            self._close(connection)

    def _left(self, connection: Connection) -> None:
        self.front.forget(connection.number)
        self._close(connection)

    # ---- arrival

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _ in range(ACCEPTS):
            if len(self.connections) >= self.most:  # the idle go first
                self._close(min(self.connections.values(), key=lambda item: (item.state != "reading", item.until)))
            try:
                sock, addr = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            if self.tls is not None:
                sock = self.tls.wrap(sock)
            connection = Connection(sock, addr, self.max_body, self.tls is not None)
            self.connections[connection.fd] = connection
            self.loop.watch(connection.fd, partial(self._ready, connection))

    def _ready(self, connection: Connection, _: int) -> None:
        try:
            if not connection.tls_done:
                connection.sock.do_handshake()  # type: ignore[attr-defined]
                connection.tls_done = True
            while self._read(connection):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ssl.SSLWantWriteError:
            return
        except (OSError, ValueError):
            self._close(connection)

    def _read(self, connection: Connection) -> bool:
        """Read once; whether it makes sense to read again."""
        # A small buffer first: one of READ_BYTES is mapped and unmapped, which costs more than the request.
        data = connection.sock.recv(READ_BYTES if connection.arrival.begun else FIRST_BYTES)
        if not data:
            self._close(connection)
            return False
        if connection.state == "lingering":
            return True
        try:
            if not connection.arrival.feed(data):
                if connection.arrival.expects_continue:
                    connection.arrival.expects_continue = False
                    connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                connection.until += len(data) / BYTES_PER_S
                return self.tls is not None
        except http.TooLarge as error:
            self._refuse(connection, RequestError(error.status, "request_too_large", str(error)))
            return False
        self.loop.unwatch(connection.fd)
        self._handle(connection)
        return False

    # ---- answering

    def _handle(self, connection: Connection) -> None:
        try:
            request = next(gunicorn_http.get_parser(self.cfg, iter([connection.arrival.data]), connection.addr))
            request._expected_100_continue = False
        except (ParseException, StopIteration, OSError) as error:
            return self._answer(connection, 400, _error(400, "http_invalid", f"Not an HTTP request: {error}"))
        length = connection.arrival.length
        if not self.hot.serves(request.method, request.path, length):
            return self._in_thread(connection, request)
        connection.state = "parked"
        connection.until = time.monotonic() + 1.0
        authorization = next((text for name, text in request.headers if name == "AUTHORIZATION"), "")
        try:
            found = connection.arrival.body()
            body = request.body.read() if found is None else bytes(found)
            asked = (request.method, request.path, request.query or "", authorization, body)
            answer = partial(self._answer, connection)
            self.hot.serve(*asked, answer, lambda number: setattr(connection, "number", number))
        except ParseException as error:
            self._answer(connection, 400, _error(400, "http_invalid", f"Not an HTTP request: {error}"))
        except Exception:
            self.log.exception("Error handling a request")
            self._answer(connection, 500, _error(500, "agent_defect", "The agent failed; its log says more"))

    def _answer(self, connection: Connection, status: int, body: http.Body) -> None:
        if connection.fd not in self.connections:
            return
        self.loop.unwatch(connection.fd)
        connection.unsent = http.response(status, body)
        connection.state = "answering"
        connection.until = time.monotonic() + SEND_S + sum(map(len, connection.unsent)) / BYTES_PER_S
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        unsent = connection.unsent
        try:
            while unsent:
                unsent[0] = unsent[0][connection.sock.send(unsent[0]) :]
                if not unsent[0]:
                    del unsent[0]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError:
            return self._close(connection)
        if not unsent:
            return self._close(connection)
        self.loop.unwatch(connection.fd)
        self.loop.watch(connection.fd, lambda _: self._send(connection), select.EPOLLOUT)

    def _refuse(self, connection: Connection, error: RequestError) -> None:
        """Answer before the request is there; read on for a moment, or the client never sees it."""
        connection.state = "lingering"
        connection.until = time.monotonic() + LINGER_S
        try:
            connection.sock.send(http.response(error.status, [dumps(error.as_json())])[0])
            if self.tls is None:
                connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        if self.connections.pop(connection.fd, None) is not None:
            self.loop.unwatch(connection.fd)
            hang_up(connection.sock)

    # ---- WSGI in a thread

    def _in_thread(self, connection: Connection, request: Any) -> None:
        del self.connections[connection.fd]
        if not self.threads.acquire(blocking=False):
            self.connections[connection.fd] = connection
            return self._answer(connection, 503, _error(503, "overloaded", "Too many requests; try again"))
        threading.Thread(target=self._wsgi, args=(connection, request), daemon=True).start()

    def _wsgi(self, connection: Connection, request: Any) -> None:
        sock = connection.sock
        try:
            sock.settimeout(SEND_S)
            response, environ = wsgi.create(request, sock, connection.addr, self.server, self.cfg)
            environ["wsgi.multithread"] = True
            environ["agent.left"] = partial(left, sock)
            body = connection.arrival.body()
            if body is not None:  # the parser's reader would copy it again and again
                environ["agent.body"] = body
                environ["wsgi.input"] = io.BytesIO()
            response.force_close()
            result = self.wsgi(environ, response.start_response)
            try:
                for item in result:
                    response.write(item)
                response.close()
            finally:
                if hasattr(result, "close"):
                    result.close()
        except OSError:
            pass  # the client went away
        except Exception:
            self.log.exception("Error handling %s %s", request.method, request.path)
        finally:
            hang_up(sock)
            self.threads.release()


def _descriptors() -> int:
    """How many descriptors this process may have, after asking for as many as are ever needed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 3 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 3 * MAX_CONNECTIONS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def left(sock: socket.socket) -> bool:
    """Whether the client has closed its side of the connection."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def hang_up(sock: socket.socket) -> None:
    """Close; over TLS with a close_notify, so that the client knows that it has everything."""
    if isinstance(sock, ssl.SSLSocket):
        sock.setblocking(False)
        with contextlib.suppress(OSError, ValueError):
            sock.unwrap()
    sock.close()


def _error(status: int, code: str, message: str) -> list[bytes]:
    return [dumps(RequestError(status, code, message).as_json())]
