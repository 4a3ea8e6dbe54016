"""agent-router overlay: plugins as an archive that a boot loader adds to the ramdisk (docs/overlay.md)."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from typing import IO

from agent_router.cli import overlay_check, overlay_content
from agent_router.cli.overlay_content import Overlay
from agent_router.ramdisk import cpio
from agent_router.ramdisk.cpio import ArchiveError

REFUSED, FAILED = 2, 1
NEVER = "nothing was written; mend it, or write the archive all the same with --force"


def main(directory: str, output: str, force: bool) -> int:
    """Check and write; the exit status."""
    try:
        mtime = _source_date_epoch()
        overlay = overlay_content.collect(directory)
        _check_output(output, overlay)
        found = overlay_check.check(overlay)
        for name in overlay.ignored:
            _say(f"note: {name} is left out: {_why_ignored(name)}")
        for note in found.notes:
            _say(f"note: {note}")
        for problem in found.problems:
            _say(problem)
        if found.problems and not force:
            _say(NEVER)
            return REFUSED
        with replacing(output) as file:
            cpio.write_gzip(overlay.entries, file, mtime)
    except ArchiveError as error:
        _say(str(error))
        return REFUSED
    except OSError as error:
        _say(f"{error.filename or output}: {error.strerror or error}; nothing was written")
        return FAILED
    _report(output, found.methods)
    return 0


def _source_date_epoch() -> int:
    """When all files were changed last, so that the same files make the same archive; 0 unless set."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isdecimal() or int(text) > cpio.FIELD_MAX:
        raise ArchiveError(f"SOURCE_DATE_EPOCH is {text!r}; set it to a number of seconds since 1970, or unset it")
    return int(text)


def _check_output(output: str, overlay: Overlay) -> None:
    real = os.path.realpath(output)
    places = (overlay.path, *(f"{overlay.path}/{name}" for name in overlay_content.NAMES))
    if any(f"{real}/".startswith(f"{os.path.realpath(place)}/") for place in places):
        raise ArchiveError(f"{output} lies in {overlay.path} itself; name a file elsewhere with -o")
    if os.path.lexists(real) and not stat.S_ISREG(os.lstat(real).st_mode):
        raise ArchiveError(f"{output} is not a regular file; name the archive to write with -o")


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is complete; until then, and on any error, nothing changes."""
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
        return f"only {', '.join(f'{name}/' for name in overlay_content.NAMES)} are looked at"
    if kind == overlay_content.SCHEMAS and not file.endswith(".json"):
        return "a manifest is called NAME.json"
    return "it has the name of a hidden or backup file"


def _report(output: str, methods: list[str]) -> None:
    size = os.stat(output).st_size
    shown = f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.1f} KiB"
    lines = [f"{output}: {shown}, {len(methods)} method{'' if len(methods) == 1 else 's'}"]
    lines += [f"  {name}" for name in methods]
    name = os.path.basename(output)
    lines.append(f"Boot with it as a second initrd, after the ramdisk's own; in iPXE: initrd {name}")
    print("\n".join(map(printable, lines)))


def _say(sentence: str) -> None:
    print(printable(f"agent-router: {sentence}"), file=sys.stderr)


def printable(text: str) -> str:
    """File names may hold what is no text, or commands to a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
