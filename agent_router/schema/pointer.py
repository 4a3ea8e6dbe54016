"""JSON Pointers (RFC 6901)."""

import re
from typing import Any

_INDEX = re.compile("0|[1-9][0-9]{0,8}")


def resolve(root: Any, pointer: str) -> Any:
    """The value that a JSON Pointer (RFC 6901) names, or None."""
    node = root
    for part in pointer.split("/")[1:] if pointer else []:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and _INDEX.fullmatch(part) and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node if not pointer or pointer.startswith("/") else None
