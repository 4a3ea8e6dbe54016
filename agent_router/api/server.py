"""gunicorn, configured: one worker with one loop, no control socket, the application preloaded."""

from __future__ import annotations

import gc
import signal
from typing import Any

from gunicorn.app.base import BaseApplication

from agent_router.api.app import AgentApp, create_app
from agent_router.commands.calls import Translate
from agent_router.commands.dispatch import Dispatcher
from agent_router.config.settings import Settings
from agent_router.linux import libc

WORKER_TIMEOUT_S = 60


class GunicornServer(BaseApplication):
    def __init__(self, settings: Settings, listener: int, started_at: float, translate: Translate) -> None:
        self._settings = settings
        self._translate = translate
        self._started_at = started_at
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener}",
            "worker_class": "agent_router.api.worker.LoopWorker",
            "workers": 1,
            "timeout": WORKER_TIMEOUT_S,
            "graceful_timeout": 2,
            "preload_app": True,
            "control_socket_disable": True,
            "loglevel": "warning",
            "certfile": self._settings.cert or None,
            "keyfile": self._settings.key or None,
            "limit_request_line": 8190,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> AgentApp:
        app = create_app(Dispatcher(self._settings, self._started_at, self._translate))
        # What is written to now is shared with the worker later: the bytecode that the interpreter specializes as it
        # runs, and the marks of the garbage collector.
        for _ in range(20):
            app.test_client().get("/v1/status")
        gc.collect()
        gc.freeze()
        return app


def run(settings: Settings, listener: int, started_at: float, translate: Translate) -> None:
    """The main function of the front process; `listener` is the descriptor of the listening socket.

    `started_at` is when the agent started: a front may be started again. `translate` knows the names of another
    vocabulary.
    """
    # The front is stateless: when the supervisor dies it goes too, and frees the port for the next.
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)
    GunicornServer(settings, listener, started_at, translate).run()
