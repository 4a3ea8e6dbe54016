"""An image from a LUN: iscsi://[USER%PASSWORD@]PORTAL[:PORT]/IQN/LUN, the form of libiscsi and of qemu.

qemu-nbd is the initiator, in user space, so no kernel module is needed.
"""

import base64
import binascii
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from agent_router import plugin
from agent_router.image.sources.nbd import Nbd
from agent_router.image.sources.spec import Spec, shown

SOCKET = "nbd"
POLL_S = 0.02
CUT = "Failed to connect to LUN : "  # libiscsi's words before the reason

PORT = 3260  # IANA, RFC 7143
# RFC 3721 and 3980: iqn., eui., naa.; no comma, which would begin another option of qemu.
TARGET = re.compile(r"(iqn\.[0-9]{4}-[0-9]{2}\.|eui\.|naa\.)[A-Za-z0-9.:_-]{1,200}")


@dataclass(frozen=True)
class Lun:
    portal: str  # host:port
    target: str
    lun: int
    user: str | None = None
    password: str = field(default="", repr=False)


def parse_url(url: str, headers: Mapping[str, str]) -> Lun:
    """CHAP user and password are taken from `Authorization: Basic`, as for http, or from the URL."""
    parts = urllib.parse.urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or PORT
    except ValueError as error:
        raise _bad_url(url, str(error)) from None
    path = parts.path.split("/")
    if not host or len(path) != 3 or parts.query or parts.fragment:
        raise _bad_url(url, "it is not iscsi://PORTAL[:PORT]/IQN/LUN")
    if not TARGET.fullmatch(path[1]):
        raise _bad_url(url, f"{path[1]} is not the name of an iSCSI target")
    if not re.fullmatch("[0-9]{1,5}", path[2]):
        raise _bad_url(url, f"{path[2]} is not the number of a LUN")
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise _bad_url(url, f"{host} is not a host name")
    user, password = _chap(url, headers)
    portal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Lun(portal, path[1], int(path[2]), user, password)


def _chap(url: str, headers: Mapping[str, str]) -> tuple[str | None, str]:
    given = next((value for key, value in headers.items() if key.lower() == "authorization"), None)
    if given is None:
        userinfo = urllib.parse.urlsplit(url).netloc.rpartition("@")[0]
        # % parts them here, so it cannot escape anything.
        user, _, password = userinfo.partition("%")
    else:
        scheme, _, packed = given.partition(" ")
        try:
            user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            scheme = ""
        if scheme.lower() != "basic" or not user:
            raise plugin.InvalidRequest("bad_url", f"{shown(url)}: CHAP takes Authorization: Basic and nothing else")
    if bool(user) != bool(password):
        raise _bad_url(url, "CHAP takes a user and a password")
    return user or None, password


def _bad_url(url: str, why: str) -> plugin.InvalidRequest:
    return plugin.InvalidRequest("bad_url", f"{shown(url)}: {why}")


class IscsiSource:
    """A Source. A LUN is often larger than the image: `size_bytes` of the command says how much to read."""

    cannot_wait = False

    def __init__(self, spec: Spec) -> None:
        self.name = spec.name
        self.size: int | None = None
        self.offset = 0
        self.resumed = 0
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._directory: str | None = None
        self._nbd: Nbd | None = None

    def open(self) -> None:
        lun = parse_url(self._spec.url, self._spec.headers)
        # Below the scratch directory, which the agent removes whatever happens.
        self._directory = tempfile.mkdtemp(prefix="iscsi-", dir=os.path.abspath(self._spec.work))
        self._start(lun)
        self._nbd = nbd = self._connect()
        expected = self._spec.size_bytes
        if expected is not None and expected > nbd.size:
            message = f"{self.name} has {nbd.size} bytes, expected {expected}"
            raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": nbd.size})
        self.size = nbd.size if expected is None else expected

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), (self.size or 0) - self.offset)
        self._read(self.offset, buffer[:count])
        self.offset += count
        return count

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes only where the image ends."""
        found = bytearray(max(min(length, (self.size or 0) - offset), 0))
        self._read(offset, memoryview(found))
        return bytes(found)

    def close(self) -> None:
        nbd, self._nbd = self._nbd, None
        if nbd is not None:
            nbd.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def stats(self) -> dict[str, Any]:
        return {}

    def _read(self, offset: int, buffer: memoryview) -> None:
        if self._nbd is None:
            raise plugin.Failed("stopped", f"{self.name}: given up after {self.offset} bytes")
        try:
            self._nbd.read(offset, buffer)
        except TimeoutError:
            message = f"{self.name}: no new byte for {self._spec.patience_s:g} s after {self.offset} bytes"
            raise plugin.Failed("connection_lost", message) from None
        except OSError as error:
            why = error.strerror or str(error)
            message = f"{self.name}: it cannot be read after {self.offset} bytes: {why}"
            raise plugin.Failed("connection_lost", message) from None

    def _start(self, lun: Lun) -> None:
        self._log = tempfile.TemporaryFile()
        # The password is neither in a directory nor in an argument list: a file in memory, passed by number.
        secret = os.memfd_create("chap")
        try:
            os.write(secret, lun.password.encode())
            self._process = subprocess.Popen(
                nbd_argv(lun, secret),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                cwd=self._directory,
                pass_fds=[secret],
            )
        except FileNotFoundError:
            message = "qemu-nbd is not installed; build the ramdisk with the element agent-router-iscsi"
            raise plugin.Incompatible("tool_missing", message) from None
        finally:
            os.close(secret)

    def _connect(self) -> Nbd:
        """qemu-nbd reports the size of the LUN, or exits with a message."""
        assert self._process is not None
        until = time.monotonic() + self._spec.patience_s
        while (left_s := until - time.monotonic()) > 0:
            # It listens before it has logged in, so the greeting may be what has to be waited for.
            with contextlib.suppress(OSError):
                return self._greet(left_s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_S)
                raise plugin.Failed("unreachable", f"{self.name}: {self._why()}")
        message = f"{self.name}: the target did not answer within {self._spec.patience_s:g} s"
        raise plugin.Failed("unreachable", message)

    def _greet(self, timeout_s: float) -> Nbd:
        assert self._directory is not None
        # By a descriptor: the path of a socket may have 107 bytes.
        directory = os.open(self._directory, os.O_PATH | os.O_CLOEXEC)
        try:
            return Nbd(f"/proc/self/fd/{directory}/{SOCKET}", timeout_s, self._spec.patience_s)
        finally:
            os.close(directory)

    def _why(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read(1 << 16).decode(errors="replace").strip().splitlines() or ["qemu-nbd said nothing"]
        plugin.log("\n".join(lines), "debug")
        if "Unknown driver 'iscsi'" in lines[-1]:
            return "this qemu-nbd has no iSCSI; install qemu-block-extra (element agent-router-iscsi)"
        why = lines[-1].partition(CUT)[2] or lines[-1]
        # libiscsi's words for a connection that was refused or not answered.
        return "nothing answers at that address" if "Can not reconnect" in why else why


def nbd_argv(lun: Lun, secret: int) -> list[str]:
    options = f"driver=iscsi,transport=tcp,portal={lun.portal},target={lun.target},lun={lun.lun}"
    argv = ["qemu-nbd", "--read-only", "--cache=none", f"--socket=/proc/self/cwd/{SOCKET}"]
    if lun.user is not None:
        argv += ["--object", f"secret,id=chap,file=/proc/self/fd/{secret}"]
        options += f",user={lun.user.replace(',', ',,')},password-secret=chap"
    return [*argv, "--image-opts", options]
