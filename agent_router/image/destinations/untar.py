"""Unpack an archive that arrives piece by piece: read its headers, judge each, hand the bytes on to GNU tar.

tarfile reads the same bytes that tar gets, a little earlier: no byte of a member reaches tar before the member is
judged. tar restores owners, modes, times, extended attributes, ACLs, holes and links. It defends itself too, but goes
on after what it refused, and a system with files missing is worse than none.
"""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections import deque
from typing import IO, Any, cast

from agent_router import plugin
from agent_router.image.destinations.labels import Labels
from agent_router.image.protocols import Buffer

PIECES = 4  # that wait for the reader of headers; each has at most a MiB
BLOCK = 1 << 20
# Pax headers that tar does not know: those in labels.py, and what only describes the source.
PASSED_OVER = ("RHT.security.selinux", "LIBARCHIVE.", "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.fflags")
TOLD = 3  # warnings of tar
FULL = ("No space left", "Wrote only", "quota exceeded")  # of GNU tar and of the C library
ARGV = (
    "--extract", "--file=-", "--numeric-owner", "--same-owner", "--same-permissions", "--acls", "--xattrs",
    "--xattrs-include=*", "--delay-directory-restore", "--warning=no-timestamp",
)  # fmt: skip


class _Tee:
    """What tarfile reads. Bytes go on to tar as far as `release()` allowed."""

    def __init__(self, pieces: "queue.Queue[bytes | None]", out: IO[bytes]) -> None:
        self._pieces, self._out = pieces, out
        self._held: deque[bytes] = deque()
        self._first = 0  # offset of the first held byte
        self._allowed = 0
        self._rest = b""
        self.offset = 0

    def read(self, size: int) -> bytes:
        while not self._rest:
            piece = self._pieces.get()
            if piece is None:
                self._pieces.put(None)  # for the next call
                return b""
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        self.offset += len(data)
        self._held.append(data)
        self._forward()
        return data

    def release(self, end: int) -> None:
        self._allowed = max(self._allowed, end)
        self._forward()

    def ended(self, offset: int) -> bool:
        """Whether nothing but zeros lies from `offset` on, a block at least: the end by POSIX (pax, ustar)."""
        held = b"".join(self._held)[offset - self._first :]
        return len(held) >= tarfile.BLOCKSIZE and not held.strip(b"\0")

    def _forward(self) -> None:
        while self._held and self._first < self._allowed:
            data = self._held.popleft()
            count = min(len(data), self._allowed - self._first)
            self._out.write(data[:count])
            self._first += count
            if count < len(data):
                self._held.appendleft(data[count:])


class Untar(threading.Thread):
    """write() the archive in order, then finish(); or stop(). Both raise errors of tar and of the policy."""

    def __init__(self, directory: str, name: str, allow_devices: bool) -> None:
        super().__init__(daemon=True)
        self.members = 0
        self._name = name
        self._policy = MemberPolicy(name, allow_devices)
        self._labels = Labels(directory)
        self._pieces: queue.Queue[bytes | None] = queue.Queue(PIECES)
        self._error: BaseException | None = None
        self._over = threading.Event()
        if shutil.which("tar") is None:
            raise plugin.Incompatible("tool_missing", "tar is not installed, and archives are unpacked with it")
        self._says = tempfile.TemporaryFile()
        # A list, never a shell; the archive's names are data on its standard input.
        self._tar = subprocess.Popen(
            ["tar", *ARGV, f"--directory={directory}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._says,
            env={**os.environ, "LC_ALL": "C"},
        )
        self.start()

    def write(self, data: Buffer) -> None:
        piece = bytes(data)
        while True:
            self._raise()
            with contextlib.suppress(queue.Full):
                return self._pieces.put(piece, timeout=1)

    def finish(self) -> None:
        """All of the archive was given; returns when all of it is unpacked."""
        while self.is_alive():
            with contextlib.suppress(queue.Full):
                self._pieces.put(None, timeout=1)
                break
        self.join()
        self._raise()

    def stop(self) -> None:
        """Unpack nothing more."""
        self._tar.kill()
        self._over.set()
        while self.is_alive():
            with contextlib.suppress(queue.Full):
                self._pieces.put_nowait(None)
            self.join(0.1)
        self._tar.wait()
        self._says.close()
        self._labels.close()

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # always the main thread's
        try:
            self._unpack()
        except BaseException as error:
            self._error = error
            self._tar.kill()
            self._swallow()

    def _unpack(self) -> None:
        assert self._tar.stdin is not None
        tee = _Tee(self._pieces, self._tar.stdin)
        try:
            self._judge(tee)
            self._tar.stdin.close()
        except BrokenPipeError:
            pass  # tar ended, and says why
        if self._tar.wait() != 0 and not self._over.is_set():
            words = self._last_words()
            full = any(word in words for word in FULL)
            raise plugin.Failed("too_large" if full else "write_failed", f"{self._name}: {words}")
        self._labels.apply()
        self._tell_warnings()

    def _judge(self, tee: _Tee) -> None:
        try:
            archive = tarfile.open(fileobj=cast(Any, tee), mode="r|", bufsize=BLOCK)
            while (member := archive.next()) is not None:
                self._policy.check(member)
                self._labels.add(member)
                self.members += 1
                tee.release(archive.offset)
                cast(Any, archive).members.clear()  # tarfile keeps them all
        except (tarfile.TarError, EOFError) as error:
            code = "truncated" if "end of data" in str(error) or "truncated" in str(error) else "bad_image"
            raise plugin.Failed(code, f"{self._name} is not a complete tar archive: {error}") from None
        if not self.members:
            raise plugin.Failed("bad_image", f"{self._name} is a tar archive without a member")
        if tee.offset - archive.offset < tarfile.BLOCKSIZE:
            raise plugin.Failed("truncated", f"{self._name}: the archive has no end; it is truncated")
        if not tee.ended(archive.offset):
            raise plugin.Failed("bad_image", f"{self._name} has other data after the end of the archive")
        tee.release(tee.offset)
        while data := tee.read(BLOCK):  # what follows the end: padding
            tee.release(tee.offset)
            if data.strip(b"\0"):
                raise plugin.Failed("bad_image", f"{self._name} has other data after the end of the archive")

    def _tell_warnings(self) -> None:
        """What tar could not do and went on all the same."""
        found = [line for line in dict.fromkeys(self._lines()) if not any(word in line for word in PASSED_OVER)]
        more = [f"{len(found) - TOLD} more warnings of tar"] if len(found) > TOLD else []
        for line in found[:TOLD] + more:
            plugin.warn(f"{self._name}: {line}")

    def _lines(self) -> list[str]:
        self._says.seek(0)
        text = self._says.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip() and "Exiting with" not in line]

    def _last_words(self) -> str:
        lines = self._lines()
        # One cause may bring many lines after it.
        return next(
            (line for line in lines if any(word in line for word in FULL)),
            lines[-1] if lines else f"tar ended with status {self._tar.returncode}",
        )

    def _swallow(self) -> None:
        while self._pieces.get() is not None:
            pass
        self._pieces.put(None)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


DEVICES = {tarfile.CHRTYPE, tarfile.BLKTYPE}
# GNU and POSIX types that are files, directories and links; anything else a reader must not guess.
KNOWN = {
    tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
    tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, *DEVICES,
}  # fmt: skip


class MemberPolicy:
    """check() each member in the order of the archive; raises Failed("unsafe_image") with its name."""

    def __init__(self, archive: str, allow_devices: bool) -> None:
        self._archive = archive
        self._allow_devices = allow_devices
        self._links: dict[str, str] = {}  # symbolic links of the archive: where they are, where they lead

    def check(self, member: tarfile.TarInfo) -> None:
        path = self._inside(member.name, member.name)
        if member.type not in KNOWN:
            self._refuse(member.name, f"is of the unknown type {member.type!r}")
        if member.type in DEVICES and not self._allow_devices:
            self._refuse(member.name, 'is a device node; "allow_devices": true unpacks it')
        if member.islnk():
            self._inside(member.linkname, member.name)
        if member.issym():
            self._links[path] = member.linkname
        else:
            self._links.pop(path, None)  # replaced by something that is no link

    def _inside(self, name: str, member: str) -> str:
        """`name` normalized; raises if it leads out, by itself or through a link that came before it."""
        if name.startswith("/"):
            self._refuse(member, f"has the absolute path {name!r}" if name != member else "has an absolute path")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self._refuse(member, "leads out of the directory by ..")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            target = self._links.get(above)
            if target is not None and leads_out(above, target):
                self._refuse(member, f"would be written through the link {above!r} to {target!r}")
        return "/".join(parts)

    def _refuse(self, member: str, why: str) -> None:
        message = f"{self._archive}: the member {member[:200]!r} {why}"
        raise plugin.Failed("unsafe_image", message, details={"member": member[:4096]})


def leads_out(path: str, target: str) -> bool:
    """Whether the symbolic link at `path` leads above the directory where the archive is unpacked.

    A link of the archive may do so (/etc/mtab is one in every system); writing through it may not.
    """
    if target.startswith("/"):
        return True
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False
