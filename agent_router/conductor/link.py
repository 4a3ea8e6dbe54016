"""The link to Ironic: a process of its own that inspects, looks the node up and sends heartbeats.

The conductor acts only when a heartbeat comes, so one is sent soon after each command ended.
It handles no request: what must be known to those that do (the token) goes through a file.
"""

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable

from agent_router import __version__
from agent_router.conductor import names
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.conductor.lookup import BACKOFF_S, Lookup, backoff
from agent_router.conductor.memory import Memory
from agent_router.conductor.plan import Plan

FORCED_APART_S = 5.0  # Ironic is told of an ended command at once, but not more often than this
RETRY_S = (5.0, 10.0)
BEAT = (0.3, 0.6)  # of the time after which Ironic takes an agent for dead
DEFAULT_TIMEOUT_S = 300.0


class Link:
    def __init__(
        self,
        state: str,
        port: int,
        cert: str,
        plan: Plan,
        inspect: Callable[[Ironic], bool],
        say: Callable[[str], None] = print,
    ) -> None:
        self._port, self._cert, self._plan = plan.advertise_port or port, cert, plan
        self._inspect, self._say = inspect, say
        self._memory = Memory(state)
        self._memory.node_uuid = self._memory.node_uuid or plan.node_uuid
        self._marker = state + "/inspected"
        urls = plan.api_urls or [url.partition("/v1/")[0] for url in plan.inspection_urls]
        self._ironic = Ironic(urls, plan.request_id, plan.cafile, plan.insecure)
        self._lookup = Lookup(self._ironic, self._memory, plan, state, self._tell)
        self._refusals = backoff()
        self._wake = wake_socket(state)
        self._told = ""

    def run(self) -> None:
        """Until killed."""
        self._lookup.limit_tls()
        if self._plan.inspect and not os.path.exists(self._marker):
            while not self._inspect(self._ironic):
                time.sleep(BACKOFF_S[1])  # nobody else would tell Ironic of this machine
            with open(self._marker, "w"):
                pass
        while not self._plan.api_urls:
            signal.pause()  # inspected, and nothing more is wanted: Ironic powers the machine off
        self._lookup.until_known()
        while True:
            pause = self._beat()
            last = time.monotonic()
            if self._woken(pause):
                time.sleep(max(0.0, last + FORCED_APART_S - time.monotonic()))
                self._drain()

    # ---- heartbeat

    def _beat(self) -> float:
        """Send a heartbeat; how long to wait for the next, in seconds."""
        memory = self._memory
        try:
            if not memory.callback_url:  # it never changes within a boot: Ironic would refuse the heartbeat
                memory.callback_url = self._callback_url()
                memory.save()
            with open(self._cert) as file:
                certificate = file.read()
            self._ironic.heartbeat(memory.node_uuid, memory.callback_url, memory.token, __version__, certificate)
        except (IronicError, OSError) as error:
            if isinstance(error, IronicError) and error.refuses_token:
                self._lookup.again()
                return next(self._refusals)
            self._tell(f"heartbeat: {error}")
            return random.uniform(*RETRY_S)
        self._refusals = backoff()
        self._tell("heartbeats are sent")
        return random.uniform(*BEAT) * float(memory.config.get("heartbeat_timeout") or DEFAULT_TIMEOUT_S)

    def _callback_url(self) -> str:
        address = self._plan.advertise or names.advertised(self._ironic.urls, self._cert)
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
        """Each piece of news once, so that a log of days can be read."""
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
