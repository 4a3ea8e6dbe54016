"""Export a disk to another machine by iSCSI, for as long as the command runs; tgtd (tgt) is the target."""

import contextlib
import fcntl
import ipaddress
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

from agent_router import plugin
from agent_router.plugin.cancel import Cancelled, ignore_sigterm, raise_on_sigterm
from agent_router.storage import blockdev

BLKRRPART = 0x125F  # linux/fs.h: re-read the partition table
LOOK_S = 2.0

READY_S = 10.0
END_S = 3.0
POLL_S = 0.05
TARGET = ("--lld", "iscsi", "--mode", "target", "--tid", 1)
LUN = 1  # 0 is the controller of every target of tgt
# struct tgtadm_req and tgtadm_rsp of tgt 1.0.25 (2012) and newer, usr/tgtadm.h.
_REQUEST = struct.Struct("=II64sIiQQ6I")
_RESPONSE = struct.Struct("=II")
_MODE_ACCOUNT, _OP_NEW = 7, 0


class Tgt:
    """start(), offer(), then allow(); close() in every case. tgtd is reached by a socket in a directory of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.mkdtemp(prefix="tgt-", dir=".")
        # A relative path: that of a socket may have 107 bytes.
        self._socket = f"./{os.path.basename(self._directory)}/socket"

    def start(self, address: str, port: int) -> None:
        """Listen; raises Failed("port_in_use") if it cannot be there."""
        os.environ["TGT_IPC_SOCKET"] = self._socket  # of tgtd and tgtadm
        host = f"[{address}]" if ":" in address else address
        # setpriv: a disk must not stay open to the network if this process is killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "tgtd", "--foreground", "--iscsi", f"portal={host}:{port}"]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=2)
        self._wait()
        found = self.portals()
        # If tgtd cannot listen where it was told to, it listens on port 3260 of all addresses.
        if found != [f"{host}:{port}"]:
            message = f"tgtd cannot listen on {host}:{port}: it is in use or not an address of this machine"
            raise plugin.Failed("port_in_use", message)

    def offer(self, iqn: str, device: str, block_size: int, read_only: bool) -> None:
        """Create the target with one disk. No initiator is admitted yet."""
        plugin.tool("tgtadm", "--op", "new", *TARGET, "--targetname", iqn)
        lun = ("--lld", "iscsi", "--mode", "logicalunit", "--tid", 1, "--lun", LUN)
        plugin.tool("tgtadm", "--op", "new", *lun, "--backing-store", device, "--blocksize", block_size)
        if read_only:
            plugin.tool("tgtadm", "--op", "update", *lun, "--params", "readonly=1")

    def demand(self, user: str, password: str) -> None:
        """CHAP. Not by tgtadm, which takes the password as an argument, where anyone can read it."""
        text = f"user={user},password={password}".encode() + b"\0"
        request = _REQUEST.pack(_MODE_ACCOUNT, _OP_NEW, b"iscsi", _REQUEST.size + len(text), -1, 0, 0, *[0] * 6)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(READY_S)
            connection.connect(f"{self._socket}.0")
            connection.sendall(request + text)
            status, _ = _RESPONSE.unpack(connection.recv(_RESPONSE.size, socket.MSG_WAITALL))
        if status != 0:
            raise plugin.Failed("tool_failed", f"tgtd refused the CHAP user, error {status}")
        plugin.tool("tgtadm", "--lld", "iscsi", "--mode", "account", "--op", "bind", "--tid", 1, "--user", user)

    def allow(self, initiator: str) -> None:
        plugin.tool("tgtadm", "--op", "bind", *TARGET, "--initiator-address", initiator)

    def portals(self) -> list[str]:
        shown = plugin.tool("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "portal")
        return re.findall(r"^Portal: (\S+),\d+$", shown, re.MULTILINE)

    def initiators(self) -> list[str]:
        """The addresses that are logged in; raises Failed("target_died") if tgtd is gone."""
        if self._process is None or self._process.poll() is not None:
            raise plugin.Failed("target_died", "tgtd exited; see the log")
        shown = plugin.tool("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target")
        return sorted(set(re.findall(r"^\s*IP Address: (\S+)$", shown, re.MULTILINE)))

    def close(self) -> None:
        """The disk is no longer read or written when this returns."""
        process, self._process = self._process, None
        if process is not None:
            # tgtd ignores SIGTERM while it has a target, and loses nothing by SIGKILL: the kernel has all data.
            process.kill()
            process.wait(END_S)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as connection:
                if connection.connect_ex(f"{self._socket}.0") == 0:
                    return
            time.sleep(POLL_S)
        raise plugin.Failed("target_died", "tgtd did not start; see the log")


def export_iscsi(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.export_iscsi; request and response as in its manifest."""
    initiators = [accepted(text) for text in request["initiators"]]
    device = request["device"]
    address = request.get("address") or own_address(initiators)
    limits = blockdev.limits(blockdev.kernel_name(device))
    if limits.read_only and not request["read_only"]:
        raise plugin.Refused("read_only", f"{device} is write-protected; export it with read_only")
    if "ALL" in initiators and "user" not in request:
        plugin.warn(
            "Anyone who reaches this machine can read and write the disk: neither initiators nor CHAP limit access"
        )
    iqn = request.get("iqn", f"iqn.2008-10.org.openstack:{uuid.uuid4()}")
    everywhere = address in ("0.0.0.0", "::")
    url = portal_url(own_address(initiators) if everywhere else address, request["port"], iqn)
    began, seen = time.monotonic(), set[str]()
    try:
        raise_on_sigterm()
        with lent(device), contextlib.closing(Tgt()) as tgt:
            try:
                tgt.start(address, request["port"])
                tgt.offer(iqn, os.path.realpath(device), limits.logical_block, request["read_only"])
                if "user" in request:
                    tgt.demand(request["user"], request["password"])
                for initiator in initiators:
                    tgt.allow(initiator)
                serve(tgt, url, request["duration_s"], seen)
            finally:
                ignore_sigterm()  # a second one must not interrupt the cleaning up
    except Cancelled:
        partial = {"url": url, "seen": sorted(seen)}
        raise plugin.Failed("stopped", f"{device} is no longer exported", partial=partial) from None
    seconds = round(time.monotonic() - began, 3)
    return {"device": device, "url": url, "iqn": iqn, "lun": LUN, "seconds": seconds, "seen": sorted(seen)}


def serve(tgt: Tgt, url: str, duration_s: float, seen: set[str]) -> None:
    """Report the URL until the time is over; `seen` collects the initiators that logged in."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < duration_s:
        now = tgt.initiators()
        seen.update(now)
        who = f", in use by {', '.join(now)}" if now else ""
        plugin.progress(round(passed), duration_s, "s", url + who)
        time.sleep(min(LOOK_S, duration_s - passed))
    if now := tgt.initiators():
        plugin.warn(f"The time ended while {', '.join(now)} still used the disk")


@contextlib.contextmanager
def lent(device: str) -> Iterator[None]:
    """Lock the disk; afterwards flush it and have the kernel re-read its partition table."""
    fd = blockdev.open_exclusive(device)
    try:
        yield
    finally:
        try:
            os.fsync(fd)
            # A partition or a loop device has no table to read (EINVAL).
            with contextlib.suppress(OSError):
                fcntl.ioctl(fd, BLKRRPART)
        finally:
            os.close(fd)


def accepted(text: str) -> str:
    """An address, a network or ALL, as tgt compares them; raises InvalidRequest("bad_initiator")."""
    if text == "ALL":
        return text
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        message = f"{text} is neither an address, nor a network like 192.0.2.0/24, nor ALL"
        raise plugin.InvalidRequest("bad_initiator", message) from None
    return str(network) if "/" in text else str(network.network_address)


def own_address(initiators: list[str]) -> str:
    """The address of this machine that faces the first initiator, or the default route; nothing is sent."""
    first = initiators[0].partition("/")[0].replace("ALL", "192.0.2.1")  # RFC 5737: somewhere outside
    with socket.socket(socket.AF_INET6 if ":" in first else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((first, 9))
        except OSError as error:
            message = f"no address of this machine faces {first} ({error.strerror}); give the address to listen on"
            raise plugin.InvalidRequest("no_address", message) from None
        return str(probe.getsockname()[0])


def portal_url(host: str, port: int, iqn: str) -> str:
    return f"iscsi://{f'[{host}]' if ':' in host else host}:{port}/{iqn}/{LUN}"
