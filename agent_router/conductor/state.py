"""What must survive a restart of the agent within one boot: the node, its token, where Ironic is.

Ironic shows a token once per boot; an agent that lost it would be locked out for good.
"""

import json
from pathlib import Path
from typing import Any

from agent_router.linux import files

FIELDS = ("node_uuid", "token", "callback_url", "config")


class ConductorState:
    """One JSON file in the state directory, and the token in a file of its own, which the API reads."""

    def __init__(self, state: str) -> None:
        self._path = Path(state, "ironic.json")
        self._token_path = Path(state, "token")
        self.node_uuid = ""
        self.token = ""
        self.callback_url = ""
        self.config: dict[str, Any] = {}
        self._load()

    def save(self) -> None:
        """All or nothing: after a kill at any moment, each file has either the old or the new text."""
        if self.token:
            files.replace(self._token_path, self.token)
        files.replace(self._path, json.dumps({name: getattr(self, name) for name in FIELDS}))

    def _load(self) -> None:
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return
        if not isinstance(found, dict):
            return
        for name in FIELDS:
            if isinstance(found.get(name), type(getattr(self, name))):
                setattr(self, name, found[name])
