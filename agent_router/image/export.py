"""Lend a disk to another machine by iSCSI, as long as the command runs."""

import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from agent_router import plugin
from agent_router.image.tgt import LUN, Tgt
from agent_router.storage import blockdev

BLKRRPART = 0x125F  # linux/fs.h: re-read the partition table
LOOK_S = 2.0


class Stopped(BaseException):
    """SIGTERM: a cancel, or the time limit of the command."""


def export(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.export_iscsi; request and response as in its manifest."""
    initiators = [accepted(text) for text in request["initiators"]]
    device = request["device"]
    address = request.get("address") or own_address(initiators)
    limits = blockdev.limits(blockdev.kernel_name(device))
    if limits.read_only and not request["read_only"]:
        raise plugin.Refused("read_only", f"{device} is write-protected; export it with read_only")
    if "ALL" in initiators and "user" not in request:
        plugin.warn("Whoever reaches this machine can read and write the disk: there is neither a list nor CHAP")
    iqn = request.get("iqn", f"iqn.2008-10.org.openstack:{uuid.uuid4()}")
    everywhere = address in ("0.0.0.0", "::")
    url = portal_url(own_address(initiators) if everywhere else address, request["port"], iqn)
    began, seen = time.monotonic(), set[str]()
    try:
        signal.signal(signal.SIGTERM, _stop)
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
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    except Stopped:
        partial = {"url": url, "seen": sorted(seen)}
        raise plugin.Failed("stopped", f"{device} is not exported any more", partial=partial) from None
    seconds = round(time.monotonic() - began, 3)
    return {"device": device, "url": url, "iqn": iqn, "lun": LUN, "seconds": seconds, "seen": sorted(seen)}


def serve(tgt: Tgt, url: str, duration_s: float, seen: set[str]) -> None:
    """Tell where the disk is until the time is over; `seen` collects who logged in."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < duration_s:
        now = tgt.initiators()
        seen.update(now)
        who = f", in use by {', '.join(now)}" if now else ""
        plugin.progress(round(passed), duration_s, "s", url + who)
        time.sleep(min(LOOK_S, duration_s - passed))
    if now := tgt.initiators():
        plugin.warn(f"The time was over while {', '.join(now)} still used the disk")


@contextlib.contextmanager
def lent(device: str) -> Iterator[None]:
    """Nobody here uses the disk meanwhile; afterwards all is on it, and the kernel looks at it anew."""
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
            message = f"no address of this machine faces {first} ({error.strerror}); say by address where to listen"
            raise plugin.InvalidRequest("no_address", message) from None
        return str(probe.getsockname()[0])


def portal_url(host: str, port: int, iqn: str) -> str:
    return f"iscsi://{f'[{host}]' if ':' in host else host}:{port}/{iqn}/{LUN}"


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise Stopped
