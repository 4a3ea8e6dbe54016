"""Collect, check and write an overlay (docs/overlay.md)."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import IO

from agent_router.overlay import check, content, cpio
from agent_router.overlay.check import Findings
from agent_router.overlay.content import Overlay
from agent_router.overlay.cpio import ArchiveError


def prepare(directory: str, output: str) -> tuple[Overlay, Findings]:
    """What to pack, and what the checks found; ArchiveError for what cannot be packed at all."""
    _source_date_epoch()
    overlay = content.collect(directory)
    _check_output(output, overlay)
    found = check.check(overlay)
    found.notes[:0] = [f"{name} is ignored: {_why_ignored(name)}" for name in overlay.ignored]
    return overlay, found


def write(overlay: Overlay, output: str) -> None:
    """ArchiveError and OSError leave the old file in place."""
    with replacing(output) as file:
        cpio.write_gzip(overlay.members, file, _source_date_epoch())


def _source_date_epoch() -> int:
    """The modification time of all files, fixed so that the same files make the same archive; 0 unless set."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isdecimal() or int(text) > cpio.FIELD_MAX:
        raise ArchiveError(f"SOURCE_DATE_EPOCH is {text!r}; set it to a number of seconds since 1970, or unset it")
    return int(text)


def _check_output(output: str, overlay: Overlay) -> None:
    real = os.path.realpath(output)
    inputs = (overlay.path, *(f"{overlay.path}/{name}" for name in content.NAMES))
    if any(f"{real}/".startswith(f"{os.path.realpath(path)}/") for path in inputs):
        raise ArchiveError(f"{output} is inside {overlay.path}; name a file elsewhere with -o")
    if os.path.lexists(real) and not stat.S_ISREG(os.lstat(real).st_mode):
        raise ArchiveError(f"{output} is not a regular file; name the archive to write with -o")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file that replaces `path` once complete; until then, and on any error, nothing changes."""
    path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".agent-router-overlay.{secrets.token_hex(4)}")
    try:
        file = open(temporary, "xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _why_ignored(name: str) -> str:
    kind, slash, file = name.rpartition("/")
    if not slash:
        return f"only {', '.join(f'{name}/' for name in content.NAMES)} are read"
    if kind == content.SCHEMAS and not file.endswith(".json"):
        return "manifests are named NAME.json"
    return "its name is that of a hidden or backup file"
