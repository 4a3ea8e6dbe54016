"""Does the machine have what a manifest asks for? Answered from sysfs, PATH and the module lists.

Nothing is executed here.
"""

import os
import shutil
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

SYS = Path("/sys")
MODULES = Path("/lib/modules")


def unmatched(match: list[dict[str, Any]]) -> str:
    """Why none of the entries of a manifest's `match` fits this machine, or ""."""
    if not match or any(_fits(entry) for entry in match):
        return ""
    return "this machine has none of: " + ", ".join(_describe(entry) for entry in match)


def missing(needs: dict[str, list[str]], path: str) -> str:
    """The first command or module of `needs` that is not here, as a sentence, or ""."""
    for command in needs.get("commands", ()):
        if not shutil.which(command, path=path):
            return f"the command {command} is not installed"
    for module in needs.get("modules", ()):
        if not _has_module(module):
            return f"the kernel module {module} is neither loaded nor available"
    return ""


def _fits(entry: dict[str, Any]) -> bool:
    if "modalias" in entry and not any(fnmatchcase(alias, entry["modalias"]) for alias in modaliases()):
        return False
    return all(fnmatchcase(dmi(key), pattern) for key, pattern in entry.get("dmi", {}).items())


def _describe(entry: dict[str, Any]) -> str:
    parts = [entry["modalias"]] if "modalias" in entry else []
    parts += [f"{key}={pattern}" for key, pattern in entry.get("dmi", {}).items()]
    return " and ".join(parts)


@lru_cache(1)
def modaliases() -> frozenset[str]:
    """The modalias of every device. Read once: a hot-plugged card needs a restart of the agent."""
    found = set()
    for file in SYS.glob("bus/*/devices/*/modalias"):
        try:
            found.add(file.read_text().strip())
        except (OSError, UnicodeDecodeError):
            continue
    return frozenset(found)


@lru_cache(64)
def dmi(key: str) -> str:
    """One value of /sys/class/dmi/id; "" where there is none."""
    try:
        return (SYS / "class/dmi/id" / os.path.basename(key)).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _has_module(name: str) -> bool:
    plain = name.replace("-", "_")
    return (SYS / "module" / plain).exists() or plain in _loadable()


@lru_cache(1)
def _loadable() -> frozenset[str]:
    """Names in the running kernel's modules.dep and modules.builtin."""
    found = set()
    for index in ("modules.dep", "modules.builtin"):
        try:
            lines = (MODULES / os.uname().release / index).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            file = line.split(":")[0].rsplit("/", 1)[-1]
            found.add(file.split(".")[0].replace("-", "_"))
    return frozenset(found)
