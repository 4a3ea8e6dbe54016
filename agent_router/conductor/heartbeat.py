"""The heartbeat process: inspects, looks the node up, then sends heartbeats to Ironic.

The conductor acts only on a heartbeat, so one is sent soon after each command ends. This process handles no
requests: what the API must know (the token) is passed through a file.
"""

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable

from agent_router import __version__
from agent_router.conductor import certificate_names
from agent_router.conductor.boot_parameters import BootParameters
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.conductor.lookup import BACKOFF_S, Lookup, backoff
from agent_router.conductor.state import ConductorState

FORCED_APART_S = 5.0  # the end of a command is reported at once, but not more often than this
AGAIN_S = 10.0  # after the heartbeat for the end of a command there is another
RETRY_S = (5.0, 10.0)
INTERVAL = (0.3, 0.6)  # fraction of the time after which Ironic considers an agent dead
DEFAULT_TIMEOUT_S = 300.0


class Heartbeat:
    def __init__(
        self,
        state: str,
        port: int,
        cert: str,
        parameters: BootParameters,
        inspect: Callable[[Ironic], bool],
        say: Callable[[str], None] = print,
    ) -> None:
        self._port, self._cert, self._parameters = parameters.advertise_port or port, cert, parameters
        self._inspect, self._say = inspect, say
        self._state = ConductorState(state)
        self._state.node_uuid = self._state.node_uuid or parameters.node_uuid
        self._marker = state + "/inspected"
        urls = parameters.api_urls or [url.partition("/v1/")[0] for url in parameters.inspection_urls]
        self._ironic = Ironic(urls, parameters.request_id, parameters.cafile, parameters.insecure)
        self._lookup = Lookup(self._ironic, self._state, parameters, state, self._tell)
        self._refusals = backoff()
        self._wake = wake_socket(state)
        self._told = ""

    def run(self) -> None:
        """Until killed."""
        self._lookup.limit_tls()
        if self._parameters.inspect and not os.path.exists(self._marker):
            while not self._inspect(self._ironic):
                time.sleep(BACKOFF_S[1])  # no one else would tell Ironic about this machine
            with open(self._marker, "w"):
                pass
        while not self._parameters.api_urls:
            signal.pause()  # only inspection was wanted: Ironic powers the machine off
        self._lookup.until_known()
        ended = False
        while True:
            pause = self._beat()
            last = time.monotonic()
            if ended:  # Ironic ignores a heartbeat, although it accepts it, while it works on the node
                pause = min(pause, AGAIN_S)
            ended = self._woken(pause)
            if ended:
                time.sleep(max(0.0, last + FORCED_APART_S - time.monotonic()))
                self._drain()

    def _beat(self) -> float:
        """Send a heartbeat; returns the time to wait for the next one, in seconds."""
        state = self._state
        try:
            if not state.callback_url:  # fixed for the boot: Ironic would refuse a heartbeat with another one
                state.callback_url = self._callback_url()
                state.save()
            with open(self._cert) as file:
                certificate = file.read()
            self._ironic.heartbeat(state.node_uuid, state.callback_url, state.token, __version__, certificate)
        except (IronicError, OSError) as error:
            if isinstance(error, IronicError) and error.refuses_token:
                self._lookup.again()
                return next(self._refusals)
            self._tell(f"heartbeat: {error}")
            return random.uniform(*RETRY_S)
        self._refusals = backoff()
        self._tell("heartbeats accepted")
        return random.uniform(*INTERVAL) * float(state.config.get("heartbeat_timeout") or DEFAULT_TIMEOUT_S)

    def _callback_url(self) -> str:
        address = self._parameters.advertise or certificate_names.advertised(self._ironic.urls, self._cert)
        host = f"[{address}]" if ":" in address else address
        return f"https://{host}:{self._port}"

    def _woken(self, pause_s: float) -> bool:
        self._wake.settimeout(max(0.01, pause_s))
        try:
            self._wake.recv(16)
        except TimeoutError:
            return False
        return True

    def _drain(self) -> None:
        self._wake.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake.recv(16)

    def _tell(self, text: str) -> None:
        """Each piece of news once, so that a log of days stays readable."""
        if text != self._told:
            self._told = text
            self._say(f"ironic: {text}")


def wake_socket(state: str) -> socket.socket:
    path = state + "/ended.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(path)
    return made
