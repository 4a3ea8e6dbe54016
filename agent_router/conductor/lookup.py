"""Which node this machine is: look it up until Ironic knows it, and again when Ironic rejects the token.

Ironic forgets a token when it orders the power off, and makes a new one for the first lookup after that. It keeps
the node locked until the power is off, so an agent about to die cannot take the token of the next one: its lookup
gets 409.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent_router.conductor import addresses
from agent_router.conductor.boot_parameters import BootParameters
from agent_router.conductor.ironic import Ironic, IronicError
from agent_router.conductor.state import ConductorState
from agent_router.config import tls
from agent_router.deploy import node, permitted_formats
from agent_router.linux import files

LOCKED_S = (5.0, 10.0, 30.0)
BACKOFF_S = (1.0, 60.0)
NO_BMC = "agent_skip_bmc_detect"  # in the configuration of a lookup: Ironic knows the BMC's addresses
CURE = "have Ironic power the node off and on to get a new one"

Tell = Callable[[str], None]


class Lookup:
    """`tell` gets each piece of news; the result is in `state` and in files of the state directory."""

    def __init__(
        self, ironic: Ironic, state: ConductorState, parameters: BootParameters, directory: str, tell: Tell
    ) -> None:
        self._ironic, self._state, self._parameters, self._tell = ironic, state, parameters, tell
        self._directory = Path(directory)
        self._limits: tuple[tls.Limits, list[str]] = {}, []

    def until_known(self) -> None:
        """Return when node and token are known."""
        pauses, locked = backoff(), iter(LOCKED_S)
        while True:
            try:
                token = self._ask()
            except IronicError as error:
                self._tell(f"lookup: {error}")
                time.sleep(next(locked, LOCKED_S[-1]) if error.status == 409 else next(pauses))
                continue
            if self._state.token:
                self._tell(f"this is node {self._state.node_uuid} of {self._ironic.url}")
                return
            self._tell(f"lookup: {self._why_none(token)}")
            time.sleep(BACKOFF_S[1])

    def again(self) -> None:
        """After Ironic rejected the token of a heartbeat: ask once for its current one."""
        refused = f"Ironic rejects this agent's token for node {self._state.node_uuid}"
        held = self._state.token
        try:
            token = self._ask()
        except IronicError as error:
            self._tell(f"heartbeat: {refused}; lookup: {error}")
            return
        if self._state.token != held:
            self._tell(f"heartbeat: {refused}, and gave a new one")
        elif self._parameters.token and self._parameters.token != held:
            self._state.token = self._parameters.token  # of virtual media: valid across reboots of one operation
            self._state.save()
        else:
            self._tell(f"heartbeat: {refused}; {self._why_none(token)}")

    def _ask(self) -> Any:
        """The token as Ironic shows it; all that it answered is in the state and the files."""
        state = self._state
        found = self._ironic.lookup(addresses.macs(), state.node_uuid)
        config = dict(found.get("config") or {})
        state.node_uuid = str(found["node"]["uuid"])
        token = config.pop("agent_token", None)
        state.config = config
        if isinstance(token, str) and token.strip("*"):
            state.token = token
        elif not state.token:
            state.token = self._parameters.token
        if state.token:
            state.save()
        known = dict(found["node"].get("driver_internal_info") or {})
        known[NO_BMC] = bool(config.get(NO_BMC))
        node.remember({**found["node"], "driver_internal_info": known}, self._directory)
        permitted_formats.remember(config, self._directory)
        self.limit_tls()
        return token

    def limit_tls(self) -> None:
        """Pass TLS limits to the server: Ironic's, else those of the kernel command line, else none."""
        config, parameters = self._state.config, self._parameters
        found = tls.checked(
            config.get("tls_min_version") or parameters.tls_minimum,
            config.get("tls_cipher_suites") or parameters.tls_ciphers,
        )
        if found == self._limits:
            return
        self._limits = limits, wrong = found
        files.replace(self._directory / tls.PLACE, json.dumps(limits))
        for sentence in wrong:
            self._tell(sentence)

    def _why_none(self, token: Any) -> str:
        if isinstance(token, str):  # ******
            return f"Ironic gave the token of node {self._state.node_uuid} to an earlier agent; {CURE}"
        return (
            f"the lookup at {self._ironic.url} returned no token: the API is older than version 1.62, or its root does "
            "not give its version"
        )


def backoff() -> Iterator[float]:
    """Random, growing pauses, so that the machines of a rack do not all ask at once."""
    shortest, longest = BACKOFF_S
    limit = shortest
    while True:
        yield random.uniform(shortest / 2, limit)
        limit = min(2 * limit, longest)
