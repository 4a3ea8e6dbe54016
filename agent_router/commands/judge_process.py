"""The judge: a child process for what may take long, such as the check of a document against its schema.

A regular expression or a schema with many alternatives can need longer than anybody lives, and neither Python's nor
Rust's engine can be interrupted: here it keeps nobody waiting, and the kernel ends it. A job is a function of a module
and its arguments; the child is forked from the process that needs it, so that it knows everything already.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from agent_router.ipc.frames import Frames, pack
from agent_router.ipc.messages import End
from agent_router.linux import libc
from agent_router.schema.problems import RequestError
from agent_router.schema.validation import TakesLong

if TYPE_CHECKING:
    from agent_router.catalogue.manifest import Manifest
    from agent_router.commands.dispatch import Dispatcher

CPU_S, WALL_S = 3.0, 20.0
CPU_BYTES_PER_S, WALL_BYTES_PER_S = 8 << 20, 2 << 20  # a large document may take this much longer
OOM_SCORE_ADJ = "500"  # the kernel takes it before it takes the agent
READ_BYTES = 1 << 20
ATTEMPTS = 2  # a verdict that ended the process so many times is given up

Work = Callable[..., Any]  # (dispatcher, *arguments)
VerdictArgs = tuple[End, bytes, "Manifest | None", list[str]]


class JudgeError(Exception):
    """There is no answer; str() completes a sentence that begins with what was to be done.

    `kind` is the type of the verdict on a command whose output it was about.
    """

    kind = "JudgeFailed"


class TookLong(JudgeError):
    kind = "CheckTooSlow"

    def __init__(self, size: int) -> None:
        super().__init__(f"takes more than {CPU_S + size // CPU_BYTES_PER_S:g} s of computing time")


class Died(JudgeError):
    """The process died, which was not our doing."""


class JudgeProcess:
    """The child; `sock` carries jobs there and answers back, both in frames."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.sock, theirs = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            _serve(dispatcher, theirs)
        theirs.close()

    def died(self, size: int) -> JudgeError:
        """To be called when it hung up: why."""
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return TookLong(size)
        how = os.waitstatus_to_exitcode(status)
        how_text = f"signal {signal.Signals(-how).name}" if how < 0 else f"exit status {how}"
        return Died(f"ended the process that did it ({how_text})")

    def end(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self.sock.close()


def wall_s(size: int) -> float:
    """How long a job with a document of `size` bytes may take altogether, on a busy machine."""
    return WALL_S + size / WALL_BYTES_PER_S


def job(dispatcher: Dispatcher, work: Work, args: tuple[Any, ...], size: int) -> bytes:
    """The frame for the child."""
    return pickle.dumps((work, args, size, dispatcher.closed))


def answer(dispatcher: Dispatcher, body: bytes) -> Any:
    """What the work returned; RequestError and JudgeError are raised."""
    kind, value, used, closed = pickle.loads(body)
    dispatcher.adopt(used, closed)
    if kind == "refused":
        raise value
    if kind == "defect":
        raise Died(f"failed: {value}")
    return value


def verdict_work(dispatcher: Dispatcher, end: End, out: bytes) -> tuple[VerdictArgs, int]:
    """Arguments and size of the job that is the verdict on an ended command; its work is Dispatcher.verdict."""
    manifest, hidden = dispatcher.recall(end)
    return (end, out, manifest, hidden), len(out) + (dispatcher.files_size(end["id"]) if hidden else 0)


class BlockingJudge:
    """For the command line and tests, which may wait."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._process: JudgeProcess | None = None
        self._lock = threading.Lock()

    def run(self, work: Work, args: tuple[Any, ...], size: int) -> Any:
        with self._lock:
            process = self._process = self._process or JudgeProcess(self._dispatcher)
            try:
                process.sock.settimeout(wall_s(size))
                process.sock.sendall(pack({"op": "job"}, job(self._dispatcher, work, args, size)))
                frames = Frames()
                while not (found := frames.feed(process.sock.recv(READ_BYTES) or _hung_up())):
                    pass
            except BaseException as error:
                self._process = None
                why = process.died(size) if isinstance(error, ConnectionError) else TookLong(size)
                process.end()
                raise why if isinstance(error, OSError) else error from None
        return answer(self._dispatcher, found[0][1])

    def verdict(self, end: End, out: bytes) -> bytes:
        """The finished command object of an ended command, whatever happens."""
        args, size = verdict_work(self._dispatcher, end, out)
        error = JudgeError()
        with contextlib.suppress(TakesLong):
            return self._dispatcher.verdict(*args, hasty=True)
        for _ in range(ATTEMPTS):
            try:
                return bytes(self.run(type(self._dispatcher).verdict, args, size))
            except JudgeError as caught:
                error = caught
                if isinstance(error, TookLong):
                    break
        return self._dispatcher.unjudged(end, args[3], error.kind, str(error))


def _hung_up() -> NoReturn:
    raise ConnectionResetError


# ---- in the child


def _serve(dispatcher: Dispatcher, sock: socket.socket) -> NoReturn:
    try:
        _become_judge(sock.fileno())
        frames = Frames()
        while data := sock.recv(READ_BYTES):
            for _, body in frames.feed(data):
                sock.sendall(pack({"op": "job"}, _done(dispatcher, body)))
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _become_judge(kept: int) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in signal.Signals:
        if signal.getsignal(number) not in (None, signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for our parent
    # A connection whose copy stayed open here would never end for its client.
    os.closerange(3, kept)
    os.closerange(kept + 1, 1 << 20)
    libc.set_title("agent-router: judge")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE_ADJ)
    except OSError:
        pass


def _done(dispatcher: Dispatcher, body: bytes) -> bytes:
    work, args, size, dispatcher.closed = pickle.loads(body)
    dispatcher.used.clear()
    limit = int(time.process_time() + CPU_S + size / CPU_BYTES_PER_S) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    kind, value = "done", None
    try:
        value = work(dispatcher, *args)
    except RequestError as error:
        kind, value = "refused", error
    except Exception as error:
        traceback.print_exc()
        kind, value = "defect", f"{type(error).__name__}: {error}"
    return pickle.dumps((kind, value, list(dispatcher.used.items()), dispatcher.closed))
