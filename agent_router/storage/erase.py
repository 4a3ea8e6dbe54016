"""Erase a whole disk: choose a method, then work in chunks that allow progress reports and cancelling.

`choose` is a pure function. Discard is never trusted: a disk may return old data for discarded blocks (the kernel
guarantees nothing), so zeros are written afterwards, which costs little on disks that can discard.
"""

import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from typing import Any

from agent_router import plugin
from agent_router.storage import blockdev, secure_erase

# linux/fs.h: _IO(0x12, 119) and _IO(0x12, 127); both take {start, length} in bytes.
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F
# About a second on a slow disk, which is how long a cancel may take.
CHUNK = 64 << 20
SAMPLE = 64 << 10
BLOCK = 4 << 20
Report = Callable[[float, float, str, str], None]


class StopRequest:
    """SIGTERM, which the agent sends on cancel and at the time limit.

    Long loops check `asked` between chunks, where stopping is safe, and report how far they got.
    """

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, *_: object) -> None:
        self.asked = True


def choose(method: str, *, secure_kind: str | None, secure_reason: str, discards: bool) -> list[str]:
    """The stages for a method on a disk with these capabilities; raises Failed("unsupported").

    Stages: "secure", "discard", "zero". `secure_reason` says why secure erase is not possible.
    """
    if method == "secure" and not secure_kind:
        raise plugin.Failed("unsupported", f"{secure_reason}; use method auto or zero")
    if method == "discard" and not discards:
        raise plugin.Failed("unsupported", "the disk does not support discard; use method zero or auto")
    if method == "auto":
        if secure_kind:
            return ["secure"]
        return ["discard", "zero"] if discards else ["zero"]
    return [method]


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """What erase() would do; writes nothing."""
    device = request["device"]
    name = _checked(device)
    stages, _ = _decide(request, name)
    return {"device": device, "stages": stages, "bytes": 0, "seconds": 0.0}


def erase(request: dict[str, Any]) -> dict[str, Any]:
    """Erase `device` by `method`; returns {"device", "stages", "bytes", "seconds"}.

    Raises Failed("stopped") after SIGTERM, with the progress made in `partial`.
    """
    device = request["device"]
    name = _checked(device)
    stages, kind = _decide(request, name)
    size = blockdev.size_bytes(name)
    started = time.monotonic()
    if stages == ["secure"]:
        try:
            # Only to check that the disk is not in use: the tools open it themselves.
            os.close(blockdev.open_exclusive(device))
            secure_erase.run(kind or "", name)
        except plugin.Failed as error:
            if request.get("method", "auto") != "auto" or error.code == "locked" or isinstance(error, plugin.Refused):
                raise
            plugin.warn(f"secure erase of {device} failed ({error.message}); writing zeros instead")
            stages = _choose(name, "auto", None, "")
    if stages == ["discard"]:
        plugin.warn("discard does not guarantee that old data is gone; method auto also writes zeros")
    if stages != ["secure"] and not blockdev.is_partition(name):
        secure_erase.unlock(name)
    for stage in stages:
        if stage != "secure":
            _sweep(device, stage, size, request.get("passes", 1) if stage == "zero" else 1)
    seconds = round(time.monotonic() - started, 3)
    return {"device": device, "stages": stages, "bytes": size, "seconds": seconds}


def _checked(device: str) -> str:
    name = blockdev.kernel_name(device)
    blockdev.refuse_if_used(device, name)
    if blockdev.limits(name).read_only:
        raise plugin.Refused("read_only", f"{device} is write-protected")
    if blockdev.size_bytes(name) == 0:
        raise plugin.Failed("no_medium", f"{device} has no medium, or the medium does not respond")
    return name


def _decide(request: dict[str, Any], name: str) -> tuple[list[str], str | None]:
    method = request.get("method", "auto")
    kind, reason = None, ""
    if method in ("auto", "secure"):
        kind, reason = secure_erase.ability(name)
        if method == "auto" and reason:
            plugin.log(f"no secure erase: {reason}")
    return _choose(name, method, kind, reason), kind


def _choose(name: str, method: str, kind: str | None, reason: str) -> list[str]:
    discards = blockdev.limits(name).discard_max > 0
    return choose(method, secure_kind=kind, secure_reason=reason, discards=discards)


def _sweep(device: str, stage: str, size: int, passes: int) -> None:
    sweep(device, stage, size, passes, StopRequest(), plugin.progress)


def sweep(device: str, stage: str, size: int, passes: int, stop: StopRequest, report: Report) -> None:
    """Run one stage over the whole device, `passes` times; it can be stopped between chunks."""
    fd = blockdev.open_exclusive(device)
    try:
        act = {"discard": _discard, "zero": _zero, "random": _random}[stage]
        for number in range(passes):
            for start in range(0, size, CHUNK):
                done = number * size + start
                _check_stop(stop, device, stage, done, size * passes)
                report(done, size * passes, "bytes", stage)
                act(fd, start, min(CHUNK, size - start))
            os.fsync(fd)
        report(size * passes, size * passes, "bytes", stage)
        if stage == "zero":
            _verify(fd, device, size)
    except OSError as error:
        raise plugin.Failed("write_failed", f"{device}: {stage} failed: {error.strerror}") from None
    finally:
        os.close(fd)


def _check_stop(stop: StopRequest, device: str, stage: str, done: int, total: int) -> None:
    if stop.asked:
        message = f"stopped during {stage} of {device}: {done} of {total} bytes done, the rest is unchanged"
        raise plugin.Failed("stopped", message, partial={"device": device, "stage": stage, "bytes": done})


def _discard(fd: int, start: int, length: int) -> None:
    fcntl.ioctl(fd, BLKDISCARD, struct.pack("QQ", start, length))


def _zero(fd: int, start: int, length: int) -> None:
    # The kernel offloads this to the disk if possible (WRITE ZEROES), and otherwise writes zeros itself.
    fcntl.ioctl(fd, BLKZEROOUT, struct.pack("QQ", start, length))


def _random(fd: int, start: int, length: int) -> None:
    for offset in range(start, start + length, BLOCK):
        data = memoryview(os.urandom(min(BLOCK, start + length - offset)))
        while data:
            count = os.pwrite(fd, data, offset)
            data, offset = data[count:], offset + count


def sample_offsets(size: int, count: int = 16) -> list[int]:
    """Offsets of `count` samples, spread evenly over the disk including both ends."""
    last = max(size - SAMPLE, 0)
    return sorted({last * number // (count - 1) // 4096 * 4096 for number in range(count - 1)} | {last})


def _verify(fd: int, device: str, size: int) -> None:
    """Read samples back: some disks report success and keep the data."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for offset in sample_offsets(size):
        if os.pread(fd, SAMPLE, offset).strip(b"\0"):
            message = f"{device} reported success, but there is data other than zeros at byte {offset}"
            raise plugin.Failed("not_zeroed", message, details={"offset": offset})
