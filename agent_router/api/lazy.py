"""Flask only when it is needed.

The hot routes (hot.py) are all that Ironic's conductor ever asks for. Flask, a third of the
front's memory and start time, is imported at the first other request.
"""

from __future__ import annotations

import threading
from typing import Any

from agent_router.core.dispatch import Dispatcher


class LazyApp:
    """A WSGI application that becomes api.app's at its first call."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.agent_dispatcher = dispatcher
        self._app: Any = None
        self._lock = threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if self._app is None:
            with self._lock:
                if self._app is None:
                    from agent_router.api.app import create_app

                    self._app = create_app(self.agent_dispatcher)
        return self._app(environ, start_response)
