"""The older command standby.prepare_image: write_image, but sent without the node."""

from typing import Any

from agent_router.image import deploy
from agent_router.storage import node


def prepare_image(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of standby.prepare_image: the root device hints are those that Ironic told in the lookup."""
    return deploy.write_image(node.with_hints(request))
