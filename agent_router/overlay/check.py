"""Would the agent accept these plugins? The registry itself decides, on a staged copy of the overlay."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from agent_router.catalogue.manifest import MAX_BYTES
from agent_router.catalogue.method import READY, Method
from agent_router.catalogue.registry import Registry
from agent_router.config import environment
from agent_router.config.settings import bundled_dir
from agent_router.overlay.content import PLUGINS, ROOT, SCHEMAS, Overlay
from agent_router.overlay.cpio import ArchiveError

HEAD = 256  # as much of a program as the kernel examines (BINPRM_BUF_SIZE)
ELF = b"\x7fELF"


@dataclass(slots=True)
class Findings:
    """`problems` would make the agent refuse a plugin; `notes` are about this machine or ignored files."""

    methods: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(overlay: Overlay) -> Findings:
    """A sentence for each plugin that the agent would refuse anywhere (problem) or on this machine (note)."""
    found = Findings(problems=list(overlay.problems))
    names: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="agent-router-overlay-") as stage:
        for kind in (PLUGINS, SCHEMAS):
            os.mkdir(f"{stage}/{kind}", 0o700)
        for file, content in overlay.files.items():
            kind, name = file.split("/")
            name = name if kind == PLUGINS else name.removesuffix(".json")
            names[name] = names.get(name, True) and bool(content)
            if content and kind == SCHEMAS:
                _stage_manifest(content, f"{stage}/{file}")
            elif content:
                found.problems += _stage_program(overlay, file, content, f"{stage}/{file}")
        registry = Registry(_dirs(stage, PLUGINS), _dirs(stage, SCHEMAS), _search_path(overlay))
        for name in sorted(names):
            if names[name]:  # a dangling link has been reported already
                _add_state(found, registry.find(name), stage, overlay.path)
    found.methods = sorted(names)
    return found


def _dirs(stage: str, kind: str) -> list[Path]:
    return [bundled_dir(kind), Path(stage, kind)]


def _search_path(overlay: Overlay) -> str:
    own = [f"{overlay.path}/{ROOT}{place}" for place in environment.SYSTEM_PATH.split(":")]
    return ":".join([*own, environment.search_path()])


def _stage_manifest(content: str, staged: str) -> None:
    with open(content, "rb") as source, open(staged, "wb") as target:
        target.write(source.read(MAX_BYTES + 1))


def _stage_program(overlay: Overlay, file: str, content: str, staged: str) -> list[str]:
    """Stage only the first line, as a program may be large; returns what is wrong with that line."""
    with open(content, "rb") as source:
        head = source.read(HEAD)
    reason = bad_start(head)
    if reason or overlay.on_ramdisk(os.fsdecode(_interpreter(head))):
        head = ELF  # reported already, or an interpreter that is part of the overlay
    with open(staged, "wb") as target:
        target.write(head)
    os.chmod(staged, 0o755)
    if not os.access(staged, os.X_OK):
        where = os.path.dirname(os.path.dirname(os.path.dirname(staged)))
        raise ArchiveError(f"{where} is mounted noexec, so plugins cannot be checked; set TMPDIR to another directory")
    return [f"{file}: {reason}"] if reason else []


def _interpreter(head: bytes) -> bytes:
    words = head.partition(b"\n")[0][2:].split()
    return words[0] if head.startswith(b"#!") and words else b""


def bad_start(head: bytes) -> str:
    """Why the kernel could not start a program whose first bytes are `head`, or ""."""
    if head.startswith(ELF):
        return ""
    if not head.startswith(b"#!"):
        return "it is neither a binary (ELF) nor a script; a script begins with a line such as #!/bin/bash"
    line, end, _ = head.partition(b"\n")
    if line.endswith(b"\r"):
        return "it has Windows line endings, so the kernel cannot find its interpreter; sed -i 's/\\r$//' fixes it"
    if not end and len(head) >= HEAD:
        return f"its first line is longer than {HEAD - 1} bytes, and the kernel truncates it; shorten it"
    name = _interpreter(head)
    if not name.startswith(b"/"):
        shown = os.fsdecode(name) or "nothing"
        return f"its first line names {shown} as interpreter; give an absolute path, such as #!/bin/bash"
    return ""


def _add_state(found: Findings, method: Method, stage: str, path: str) -> None:
    reason = method.reason.replace(f"{stage}/", f"{path}/")
    if method.state in ("unavailable", "not_for_this_hardware"):
        found.notes.append(f"{method.name} is {method.state} on this machine: {reason}")
    elif method.state != READY:
        found.problems.append(f"{method.name} is {method.state}: {reason}")
