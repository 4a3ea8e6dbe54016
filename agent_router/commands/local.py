"""Run commands without a server: a private runner, and a thread that gives the verdicts."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from types import TracebackType

from agent_router.commands.calls import Translate
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.judge_process import BlockingJudge
from agent_router.config import environment
from agent_router.config.settings import Settings
from agent_router.ipc.client import Client, RunnerGone
from agent_router.linux import trees

START_S = 60.0


class JudgeThread(threading.Thread):
    """Gives the verdict on every command that ends in the runner of `dispatcher`'s state directory."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(daemon=True)
        self._client = Client(dispatcher.settings.state + "/runner.sock")
        self._judge = BlockingJudge(dispatcher)

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the runner ended, and with it our work
            self._client.send({"op": "judge"})
            while True:
                head, out = self._client.receive()
                if head["op"] == "end":
                    self._client.send({"op": "judged", "id": head["id"]}, self._judge.verdict(head, out))


class LocalAgent:
    """A context: inside it `dispatcher` can be used; start() gives it a runner in a temporary directory."""

    def __init__(self, settings: Settings, translate: Translate | None = None) -> None:
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        settings.state = tempfile.mkdtemp(prefix="agent-router-", dir=base)
        self.dispatcher = Dispatcher(settings, translate=translate)
        self._state = settings.state
        self._runner: subprocess.Popen[bytes] | None = None
        self._judge: JudgeThread | None = None

    def __enter__(self) -> "LocalAgent":
        return self

    def start(self) -> None:
        """Start the runner if it does not run yet; what an interrupt left undone is done by the next call."""
        if self._runner is None:
            # A session of its own: Ctrl-C in the terminal is for the command line, which cancels.
            argv = [sys.executable, "-m", "agent_router.runner", self._state]
            base = environment.base(self.dispatcher.settings)
            self._runner = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL, env=base)
        if self._judge is None:
            self._wait_for(self._runner)
            self._judge = JudgeThread(self.dispatcher)
            self._judge.start()

    def _wait_for(self, runner: "subprocess.Popen[bytes]") -> None:
        give_up = time.monotonic() + START_S
        while not os.path.exists(self._state + "/runner.sock"):
            if runner.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError("the runner did not start")
            time.sleep(0.002)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            with contextlib.suppress(RunnerGone):
                head, _ = Client(self._state + "/runner.sock", patience_s=1).call({"op": "ping"})
                if head["live"]:  # we leave in a hurry: the runner watches the plugin to its end and cleans up
                    return
            self._runner.terminate()
            self._runner.wait()
        trees.remove(self._state)
