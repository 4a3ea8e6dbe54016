"""agent-router overlay: pack plugins into an archive for the boot loader, and report what is wrong with them."""

from __future__ import annotations

import os
import sys

from agent_router.overlay import pack
from agent_router.overlay.cpio import ArchiveError

REFUSED, FAILED = 2, 1


def main(directory: str, output: str, force: bool) -> int:
    """Check and write; returns the exit status."""
    try:
        overlay, found = pack.prepare(directory, output)
        for note in found.notes:
            _say(f"note: {note}")
        for problem in found.problems:
            _say(problem)
        if found.problems and not force:
            _say("nothing was written; fix this, or write the archive anyway with --force")
            return REFUSED
        pack.write(overlay, output)
    except ArchiveError as error:
        _say(str(error))
        return REFUSED
    except OSError as error:
        _say(f"{error.filename or output}: {error.strerror or error}; nothing was written")
        return FAILED
    _report(output, found.methods)
    return 0


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
    """File names may contain bytes that are not text, or terminal escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
