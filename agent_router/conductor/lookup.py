"""Who this machine is to Ironic: asked until it is known, and again when Ironic does not take the token any more.

Ironic forgets a token when it orders the power off, and makes the next one for the first lookup after that. It holds
the node locked until the power is off, so that an agent about to die cannot take the token of the next one: its
lookup is answered 409.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent_router.conductor import reach
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.conductor.memory import Memory
from agent_router.conductor.plan import Plan
from agent_router.config import tls
from agent_router.deploy import node as known_node
from agent_router.deploy import permitted_formats
from agent_router.linux import files

LOCKED_S = (5.0, 10.0, 30.0)
BACKOFF_S = (1.0, 60.0)
CURE = "power the node off and on by Ironic to get a new one"

Tell = Callable[[str], None]


class Lookup:
    """`tell` gets each piece of news; what was found is in `memory` and in the files of `state`."""

    def __init__(self, ironic: Ironic, memory: Memory, plan: Plan, state: str, tell: Tell) -> None:
        self._ironic, self._memory, self._plan, self._tell = ironic, memory, plan, tell
        self._state = Path(state)
        self._limits: tuple[tls.Limits, list[str]] = {}, []

    def until_known(self) -> None:
        """Return when node and token are there."""
        pauses, locked = backoff(), iter(LOCKED_S)
        while True:
            try:
                token = self._ask()
            except IronicError as error:
                self._tell(f"lookup: {error}")
                time.sleep(next(locked, LOCKED_S[-1]) if error.status == 409 else next(pauses))
                continue
            if self._memory.token:
                self._tell(f"this is node {self._memory.node_uuid} of {self._ironic.url}")
                return
            self._tell(f"lookup: {self._why_none(token)}")
            time.sleep(BACKOFF_S[1])

    def again(self) -> None:
        """After Ironic refused the token in a heartbeat: ask once for the one that it has now."""
        refused = f"Ironic refuses the token of this agent for node {self._memory.node_uuid}"
        held = self._memory.token
        try:
            token = self._ask()
        except IronicError as error:
            self._tell(f"heartbeat: {refused}; lookup: {error}")
            return
        if self._memory.token != held:
            self._tell(f"heartbeat: {refused}, and gave another one")
        elif self._plan.token and self._plan.token != held:
            self._memory.token = self._plan.token  # of virtual media: holds over reboots of one operation
            self._memory.save()
        else:
            self._tell(f"heartbeat: {refused}; {self._why_none(token)}")

    def _ask(self) -> Any:
        """The token as Ironic shows it; memory and files have all that it told."""
        memory = self._memory
        found = self._ironic.lookup(reach.macs(), memory.node_uuid)
        node, config = found["node"], dict(found.get("config") or {})
        memory.node_uuid = str(node["uuid"])
        token = config.pop("agent_token", None)
        memory.config = config
        if isinstance(token, str) and token.strip("*"):
            memory.token = token
        elif not memory.token:
            memory.token = self._plan.token
        if memory.token:
            memory.save()
        known_node.remember(node, self._state)
        permitted_formats.remember(config, self._state)
        self.limit_tls()
        return token

    def limit_tls(self) -> None:
        """Tell the server what TLS is wanted: by Ironic, else by the kernel command line, else nothing special."""
        config, plan = self._memory.config, self._plan
        found = tls.checked(
            config.get("tls_min_version") or plan.tls_minimum, config.get("tls_cipher_suites") or plan.tls_ciphers
        )
        if found == self._limits:
            return
        self._limits = limits, wrong = found
        files.replace(self._state / tls.PLACE, json.dumps(limits))
        for sentence in wrong:
            self._tell(sentence)

    def _why_none(self, token: Any) -> str:
        if isinstance(token, str):  # ******
            return f"Ironic gave the token of node {self._memory.node_uuid} to an agent before this one; {CURE}"
        return (
            f"the lookup at {self._ironic.url} brings no token: that API is older than version 1.62, or its root does "
            "not tell its version"
        )


def backoff() -> Iterator[float]:
    """Random pauses that grow, so that a rack that was switched on does not come as one."""
    shortest, longest = BACKOFF_S
    limit = shortest
    while True:
        yield random.uniform(shortest / 2, limit)
        limit = min(2 * limit, longest)
