"""Whether a message has what the runner needs: anybody who is root can write to its socket and its journal."""

import math
import re
from typing import Any

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NUMBER = (int, float)
Kinds = dict[str, type | tuple[type, ...]]
NEEDS: dict[str, Kinds] = {
    "run": {
        "id": str, "name": str, "argv": list, "params": dict, "locks": list, "timeout_s": NUMBER, "grace_s": NUMBER,
        "out_limit": int, "log_limit": int,
    },
    "record": {"id": str, "name": str},
    "get": {"id": str},
    "cancel": {"id": str},
    "judged": {"id": str},
    "judge": {},
    "list": {},
    "ping": {},
}  # fmt: skip
MAY_HAVE: Kinds = {"stdin": str, "secrets": int, "at": NUMBER, "refused": str, "shown": dict, "action": str}


def message(found: Any) -> Any:
    """The message itself; ValueError with the reason if it is none."""
    if not isinstance(found, dict) or found.get("op") not in NEEDS:
        raise ValueError("it is none of the messages of ipc/messages.py")
    needs = NEEDS[found["op"]]
    kinds: Kinds = {**needs, **{key: kind for key, kind in MAY_HAVE.items() if key in found}}
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind) or (isinstance(found[key], float) and not math.isfinite(found[key])):
            raise ValueError(f"its {key} is missing or of a wrong type")
    if "id" in needs and not ID.fullmatch(found["id"]):
        raise ValueError("its id has more than 64 characters, or others than letters, digits, - and _")
    if found["op"] == "run":
        texts = [found["name"], *found["argv"], *found["locks"], *found["params"], *found["params"].values()]
        if not found["argv"] or not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise ValueError("a name, an argument, a lock or a parameter in it is no string of C")
    return found


def is_record(text: bytes, id: str) -> bool:
    """Whether this may be a line of the history."""
    return text.startswith(b'{"id":"%s",' % id.encode()) and text.endswith(b"}") and b"\n" not in text
