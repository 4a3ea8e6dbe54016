"""The front process: gunicorn's parser, TLS and worker protocol around one loop, without gunicorn's master.

The supervisor does what a master would: it holds the port, and starts the front again when it is gone.
"""

from __future__ import annotations

import gc
import os
import socket
from typing import Any

from gunicorn.config import Config

from agent_router.api.app import AgentApp, create_app
from agent_router.api.worker import LoopWorker
from agent_router.commands.calls import Translate
from agent_router.commands.dispatch import Dispatcher
from agent_router.config.settings import Settings

HANG_S = 60


class Application:
    """What gunicorn's worker asks for the WSGI application."""

    def __init__(self, app: AgentApp) -> None:
        self._app = app

    def wsgi(self) -> AgentApp:
        return self._app


def run(settings: Settings, listener: int, started_at: float, translate: Translate) -> None:
    """The main function of the front process; `listener` is the descriptor of the listening socket.

    `started_at` is when the agent started: a front may be started again. `translate` knows the names of another
    vocabulary.
    """
    config = _config(settings)
    app = Application(create_app(Dispatcher(settings, started_at, translate)))
    gc.collect()
    gc.freeze()  # what is there now stays: no collection has to look at it
    sockets = [socket.socket(fileno=listener)]
    LoopWorker(0, os.getppid(), sockets, app, HANG_S, config, config.logger_class(config)).init_process()


def _config(settings: Settings) -> Any:
    config = Config()
    options = {
        "loglevel": "warning",
        "certfile": settings.cert or None,
        "keyfile": settings.key or None,
        "limit_request_line": 8190,
        "forwarded_allow_ips": "",
    }
    for name, value in options.items():
        config.set(name, value)
    return config
