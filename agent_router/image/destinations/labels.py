"""Extended attributes of an archive that GNU tar passes over: SELinux labels where the kernel has no SELinux, and those
of bsdtar alone. They are kept in a file without a name until everything is unpacked.
"""

import base64
import json
import os
import tarfile
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from agent_router import plugin

SELINUX, BSDTAR, OTHERS = "RHT.security.selinux", "LIBARCHIVE.xattr.", "SCHILY.xattr."


def left_out(member: tarfile.TarInfo) -> Iterator[tuple[str, bytes]]:
    """(name, value) of each attribute in a pax header that tar --xattrs does not restore."""
    headers = member.pax_headers
    if SELINUX in headers:
        yield "security.selinux", headers[SELINUX].rstrip("\0").encode(errors="surrogateescape") + b"\0"
    for key, value in headers.items():
        name = urllib.parse.unquote(key.removeprefix(BSDTAR))
        if key.startswith(BSDTAR) and OTHERS + name not in headers:
            try:
                yield name, base64.b64decode(value + "=" * (-len(value) % 4))
            except ValueError:
                message = f"the extended attribute {name} of {member.name[:200]!r} in the archive is damaged"
                raise plugin.Failed("bad_image", message) from None


class Labels:
    """add() while the archive is read, apply() when it is unpacked below `directory`."""

    def __init__(self, directory: str) -> None:
        self._root = Path(directory)
        self._file: IO[str] | None = None

    def add(self, member: tarfile.TarInfo) -> None:
        for name, value in left_out(member):
            if self._file is None:
                # Not in memory: a system has some hundred thousand files.
                self._file = tempfile.TemporaryFile("w+", dir=self._root, prefix=".agent-router-")
            json.dump([member.name, name, base64.b64encode(value).decode()], self._file)
            self._file.write("\n")

    def apply(self) -> None:
        if self._file is None:
            return
        self._file.seek(0)
        missing, why = 0, ""
        for line in self._file:
            path, name, value = json.loads(line)
            try:
                self._set(path, name, base64.b64decode(value))
            except OSError as error:
                missing, why = missing + 1, f"{name} of {path}: {error.strerror}"
        if missing:
            plugin.warn(f"{missing} extended attributes could not be set, the last one was {why}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _set(self, path: str, name: str, value: bytes) -> None:
        place = self._root / path
        # No link of the archive may lead out of the tree, whatever became of the directories above.
        if place.parent.resolve().is_relative_to(self._root.resolve()):
            os.setxattr(place, name, value, follow_symlinks=False)
