"""A gunicorn worker with one loop.

Requests arrive in buffers, TLS handshakes included, so that no thread waits for a slow sender. Then the WSGI
application is called, in the loop. What it cannot answer at once (later.py) waits without a thread: for the runner, for
the judge, or for the next line of a file. Every answer ends its connection.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import ssl
import sys
import time
from functools import partial
from typing import Any

from gunicorn import sock as gunicorn_sock
from gunicorn.workers.base import Worker

from agent_router.api.context import KEY
from agent_router.api.errors import error_response
from agent_router.api.followers import Followers
from agent_router.api.judging import Job, Judging, Outcome
from agent_router.api.later import Computed, Followed, Parked
from agent_router.api.request_buffer import RequestBuffer
from agent_router.api.runner_connection import RunnerConnection
from agent_router.api.wsgi import NO_REQUEST, BadRequest, Environ, ParserSettings, add_body, environ, head, response
from agent_router.config import tls
from agent_router.ipc import spool
from agent_router.ipc.loop import Loop
from agent_router.linux import libc
from agent_router.schema.problems import RequestError

FIRST_BYTES, READ_BYTES = 16 << 10, 256 << 10
MAX_CONNECTIONS = 4000
ARRIVAL_S, LINGER_S, SEND_S = 20.0, 2.0, 30.0
BYTES_PER_S = 64 << 10  # a large body may take this much longer, in either direction
ACCEPTS = 64
GONE = select.EPOLLHUP | select.EPOLLERR
PROBE_EVERY_S, PROBES = 10, 6


class Client:
    """One client: sending its request, waiting for the answer, or being answered."""

    __slots__ = (
        "sock", "addr", "request", "until", "tls_done", "unsent", "question", "job", "fd", "state", "environ", "more",
        "follower",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, addr: Any, request: RequestBuffer, tls: bool) -> None:
        self.sock = sock
        self.addr = addr
        self.fd = sock.fileno()
        self.request = request
        self.until = time.monotonic() + ARRIVAL_S
        self.tls_done = not tls
        self.unsent: list[memoryview] = []
        self.question = 0  # its number at the runner's connection
        self.job: Job | None = None  # what the judge does for it
        self.environ: Environ = NO_REQUEST  # until the header is here
        self.follower: Any = None
        self.more: Any = None  # called when everything is sent, instead of closing
        self.state = "reading"


class LoopWorker(Worker):
    """gunicorn's worker protocol around the loop."""

    def run(self) -> None:
        # It is stateless: when the supervisor dies it goes too, and frees the port for the next.
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.return_large_memory()
        dispatcher = self.wsgi.extensions[KEY].dispatcher
        settings = dispatcher.settings
        spool.sweep(settings.state)
        self.loop = Loop()
        self.judging = Judging(self.loop, dispatcher)
        self.runner = RunnerConnection(self.loop, dispatcher, self.judging)
        self.followers = Followers(self.loop)
        self.state = settings.state
        self.max_body = int(settings.max_request_mib * (1 << 20))
        make = partial(gunicorn_sock.ssl_context, self.cfg)
        self.parser_settings = ParserSettings(self.cfg)
        self.tls = tls.TlsWrapper(make, settings.state, self.log.warning) if self.cfg.is_ssl else None
        self.clients: dict[int, Client] = {}
        self.most = min(MAX_CONNECTIONS, _descriptors() - 100)
        self.address = self.sockets[0].getsockname()
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
        signal.alarm(self.timeout)  # whose signal ends a loop that hangs, and the supervisor starts the next
        now = time.monotonic()
        for client in [item for item in self.clients.values() if item.until < now]:
            self._late(client)
        self.runner.give_up()
        self.loop.later(1.0, self._beat)

    def _late(self, client: Client) -> None:
        """Over its time: a slow sender is told, one that waits is only watched for leaving."""
        if client.state == "waiting":
            client.until = float("inf")
            self._watch_for(client, select.EPOLLRDHUP)
        elif client.state == "reading" and client.tls_done and client.request.begun:
            self._refuse(client, RequestError(408, "request_slow", "The request did not arrive in time"))
        else:
            self._close(client)

    # ---- arrival

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _ in range(ACCEPTS):
            if len(self.clients) >= self.most:  # the idle go first
                self._close(min(self.clients.values(), key=lambda item: (item.state != "reading", item.until)))
            try:
                sock, addr = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            if self.tls is not None:
                sock = self.tls.wrap(sock)
            client = Client(sock, addr, RequestBuffer(self.max_body, self.state), self.tls is not None)
            self.clients[client.fd] = client
            self.loop.watch(client.fd, partial(self._ready, client))

    def _ready(self, client: Client, _: int) -> None:
        try:
            if not client.tls_done:
                client.sock.do_handshake()  # type: ignore[attr-defined]
                client.tls_done = True
            while self._read(client):
                pass
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError):
            self._close(client)
        except Exception:  # a defect of ours costs this client its connection, and nobody else anything
            self.log.exception("Error handling a connection")
            self._close(client)

    def _read(self, client: Client) -> bool:
        """Read once; whether it makes sense to read again."""
        # A small buffer first: one of READ_BYTES is mapped and unmapped, which costs more than the request.
        data = client.sock.recv(READ_BYTES if client.request.begun else FIRST_BYTES)
        if not data:
            self._close(client)
            return False
        if client.state == "lingering":
            return True
        try:
            complete = client.request.feed(data)
            if not complete and client.request.header:
                self._admit(client)
        except RequestError as error:
            self._refuse(client, error)
            return False
        if complete:
            self.loop.unwatch(client.fd)
            self._handle(client)
            return False
        if client.request.expects_continue:
            client.request.expects_continue = False
            client.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.until += len(data) / BYTES_PER_S
        return self.tls is not None

    def _admit(self, client: Client) -> None:
        """RequestError unless the header opens: nobody without a token has a body kept here."""
        if client.environ is not NO_REQUEST:
            return
        try:
            client.environ = environ(client.request.header, client.addr, self.address, self.parser_settings)
        except BadRequest as error:
            raise RequestError(400, "http_invalid", str(error)) from None
        self.wsgi.admit(client.environ, client.request.has_body)

    # ---- answering

    def _handle(self, client: Client) -> None:
        client.state = "waiting"
        client.until = time.monotonic() + 1.0
        try:
            self._admit(client)
        except RequestError as error:
            return self._answer(client, error_response(error))
        add_body(client.environ, client.request)
        self._answer(client, self.wsgi)

    def _answer(self, client: Client, application: Any) -> None:
        """Send what a WSGI application (a response is one too) answers, now or later."""
        if self.clients.get(client.fd) is not client:
            return
        try:
            status, headers, result = response(application, client.environ)
        except Exception:  # Flask answers what goes wrong in a view; this is what goes wrong in Flask
            self.log.exception("Error handling a request")
            error = RequestError(500, "agent_defect", "The agent failed; its log says more")
            status, headers, result = response(error_response(error), NO_REQUEST)
        if isinstance(result, Parked):
            reply = lambda answer, body: self._answer(client, result.finish(answer, body))  # noqa: E731
            refuse = lambda error: self._answer(client, error_response(error))  # noqa: E731
            client.question = self.runner.ask(result.message, result.body, reply, refuse)
        elif isinstance(result, Computed):
            self._judge(client, result)
        elif isinstance(result, Followed):
            self._follow(client, result)
        else:
            self._send_all(client, head(status, headers), result)

    def _judge(self, client: Client, computed: Computed) -> None:
        def done(outcome: Outcome) -> None:
            client.job = None
            self._answer(client, computed.finish(outcome))

        client.job = self.judging.run(computed.work, computed.args, computed.size, done)

    def _send_all(self, client: Client, start: bytes, body: list[bytes | memoryview]) -> None:
        small = sum(map(len, body)) < FIRST_BYTES
        client.unsent = [memoryview(part) for part in ([b"".join([start, *body])] if small else [start, *body]) if part]
        client.state = "answering"
        client.until = time.monotonic() + SEND_S + sum(map(len, client.unsent)) / BYTES_PER_S
        self._watch_for(client, 0)
        self._send(client)

    def _send(self, client: Client) -> None:
        unsent = client.unsent
        try:
            while unsent:
                unsent[0] = unsent[0][client.sock.send(unsent[0]) :]
                if not unsent[0]:
                    del unsent[0]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return self._watch_for(client, select.EPOLLOUT)
        except OSError:
            return self._close(client)
        if client.more is None:
            return self._close(client)
        self._watch_for(client, select.EPOLLRDHUP)
        self.loop.later(0, self._sent, client)  # not called from here: a long file would be a deep recursion

    def _sent(self, client: Client) -> None:
        if self.clients.get(client.fd) is client and client.more is not None:
            client.more()

    def _watch_for(self, client: Client, events: int) -> None:
        self.loop.unwatch(client.fd)
        if events == select.EPOLLOUT:
            self.loop.watch(client.fd, lambda _: self._send(client), events)
        elif events:
            self.loop.watch(client.fd, partial(self._left, client), events)

    def _left(self, client: Client, events: int) -> None:
        """It is gone, or only sends no more and wants its answer: the kernel finds out in about a minute."""
        if events & GONE:
            return self._close(client)
        probe(client.sock)
        client.until = sys.float_info.max  # where room is needed it goes before those that surely wait
        self.loop.change(client.fd, GONE)

    def _follow(self, client: Client, followed: Followed) -> None:
        """Send lines as they come; the command's end is asked for like everything else."""
        client.state = "following"
        client.until = float("inf")

        def send(data: bytes, last: bool) -> None:
            client.until = time.monotonic() + SEND_S + len(data) / BYTES_PER_S
            client.unsent.append(memoryview(b"%x\r\n%s\r\n" % (len(data), data) if data else b""))
            if last:
                client.unsent.append(memoryview(b"0\r\n\r\n"))
                client.more = None
            self._send(client)

        def idle() -> None:
            client.until = float("inf")
            follower.go_on()

        follower = self.followers.add(followed, send)
        client.more = idle
        client.unsent = [memoryview(head("200 OK", [*followed.headers, ("Transfer-Encoding", "chunked")]))]
        client.question = self.runner.ask(
            {"op": "get", "id": followed.id, "wait": True},
            b"",
            lambda _, record: follower.end(record),
            lambda error: self._close(client),
        )
        client.follower = follower
        self._send(client)

    def _refuse(self, client: Client, error: RequestError) -> None:
        """Answer before the request is there; read on for a moment, or the client never sees it."""
        client.state = "lingering"
        client.until = time.monotonic() + LINGER_S
        status, headers, body = response(error_response(error), NO_REQUEST)
        try:
            client.sock.send(b"".join([head(status, headers), *body]))
            if self.tls is None:
                client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(client)

    def _close(self, client: Client) -> None:
        if self.clients.get(client.fd) is not client:
            return
        del self.clients[client.fd]
        self.runner.forget(client.question)
        self.judging.forget(client.job)
        if client.follower is not None:
            self.followers.remove(client.follower)
        self.loop.unwatch(client.fd)
        hang_up(client.sock)


def _descriptors() -> int:
    """How many descriptors this process may have, after asking for as many as are ever needed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_CONNECTIONS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def probe(sock: socket.socket) -> None:
    """Let the kernel ask whether the other end still exists, until it does not answer."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, PROBE_EVERY_S), (socket.TCP_KEEPINTVL, PROBE_EVERY_S), (socket.TCP_KEEPCNT, PROBES),
        ):  # fmt: skip
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def hang_up(sock: socket.socket) -> None:
    """Close; over TLS with a close_notify, so that the client knows that it has everything."""
    if isinstance(sock, ssl.SSLSocket):
        sock.setblocking(False)
        with contextlib.suppress(OSError, ValueError):
            sock.unwrap()
    sock.close()
