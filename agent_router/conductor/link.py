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
from collections.abc import Callable, Iterator

from agent_router import __version__
from agent_router.conductor import reach
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.conductor.memory import Memory
from agent_router.conductor.plan import Plan

MASKED = "******"
FORCED_APART_S = 5.0  # Ironic is told of an ended command at once, but not more often than this
RETRY_S = (5.0, 10.0)
BEAT = (0.3, 0.6)  # of the time after which Ironic takes an agent for dead
DEFAULT_TIMEOUT_S = 300.0
LOCKED_S = (5.0, 10.0, 30.0)
BACKOFF_S = (1.0, 60.0)


class Link:
    def __init__(self, state: str, port: int, cert: str, plan: Plan, inspect: Callable[[Ironic, str], bool],
                 say: Callable[[str], None] = print) -> None:  # fmt: skip
        self._port, self._cert, self._plan = plan.advertise_port or port, cert, plan
        self._inspect, self._say = inspect, say
        self._memory = Memory(state)
        self._memory.node_uuid = self._memory.node_uuid or plan.node_uuid
        self._marker = state + "/inspected"
        urls = plan.api_urls or [plan.inspection_url.partition("/v1/")[0]]
        self._ironic = Ironic(urls, plan.request_id, plan.cafile, plan.insecure)
        self._wake = wake_socket(state)
        self._told = ""

    def run(self) -> None:
        """Until killed."""
        if self._plan.inspect and not os.path.exists(self._marker):
            while not self._inspect(self._ironic, self._plan.inspection_url):
                time.sleep(BACKOFF_S[1])  # nobody else would tell Ironic of this machine
            with open(self._marker, "w"):
                pass
        while not self._plan.api_urls:
            signal.pause()  # inspected, and nothing more is wanted: Ironic powers the machine off
        while not self._look_up():
            pass
        last = 0.0
        while True:
            good = self._beat()
            last = time.monotonic()
            timeout = float(self._memory.config.get("heartbeat_timeout") or DEFAULT_TIMEOUT_S)
            pause = random.uniform(*BEAT) * timeout if good else random.uniform(*RETRY_S)
            if self._woken(pause):
                time.sleep(max(0.0, last + FORCED_APART_S - time.monotonic()))
                self._drain()

    # ---- lookup

    def _look_up(self) -> bool:
        pauses = backoff()
        locked = iter(LOCKED_S)
        while True:
            try:
                found = self._ironic.lookup(reach.macs(), self._memory.node_uuid)
                return self._remember(found["node"], found.get("config") or {})
            except IronicError as error:
                self._tell(f"lookup: {error}")
                time.sleep(next(locked, LOCKED_S[-1]) if error.status == 409 else next(pauses))

    def _remember(self, node: dict[str, object], config: dict[str, object]) -> bool:
        memory = self._memory
        memory.node_uuid = str(node["uuid"])
        token = config.pop("agent_token", None)
        memory.config = config
        if isinstance(token, str) and token and token != MASKED:
            memory.token = token
        elif not memory.token:
            memory.token = self._pregenerated()
        if not memory.token:
            self._tell(
                f"lookup: Ironic gave the token of node {memory.node_uuid} to an agent before this one; "
                "power the node off and on by Ironic to get a new one"
            )
            time.sleep(BACKOFF_S[1])
            return False
        memory.save()
        self._tell(f"this is node {memory.node_uuid} of {self._ironic.url}")
        return True

    def _pregenerated(self) -> str:
        """The token that Ironic put on the kernel command line, with virtual media."""
        return self._plan.token

    # ---- heartbeat

    def _beat(self) -> bool:
        memory = self._memory
        try:
            if not memory.callback_url:  # it never changes within a boot: Ironic would refuse the heartbeat
                address = self._plan.advertise or reach.source_address(self._ironic.url)
                host = f"[{address}]" if ":" in address else address
                memory.callback_url = f"https://{host}:{self._port}"
                memory.save()
            with open(self._cert) as file:
                certificate = file.read()
            self._ironic.heartbeat(memory.node_uuid, memory.callback_url, memory.token, __version__, certificate)
        except (IronicError, OSError) as error:
            self._tell(f"heartbeat: {error}")
            return False
        self._tell("heartbeats are sent")
        return True

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


def backoff() -> Iterator[float]:
    """Random pauses that grow, so that a rack that was switched on does not come as one."""
    shortest, longest = BACKOFF_S
    limit = shortest
    while True:
        yield random.uniform(shortest / 2, limit)
        limit = min(2 * limit, longest)


def wake_socket(state: str) -> socket.socket:
    path = state + "/ended.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(path)
    return made
