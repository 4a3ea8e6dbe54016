"""Write a raw image from a web server to a disk, and let it boot only if it is the right one."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from agent_router import plugin
from agent_router.image.pipeline import pump
from agent_router.image.source import Source, shown
from agent_router.image.target import Target, too_large

# A disk image does not begin like this, but what people publish by mistake as one does.
MAGIC = {
    b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"vhdxfile": "vhdx", b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2",
    b"<!DOCTYPE": "an HTML page", b"<!doctype": "an HTML page", b"<html": "an HTML page",
}  # fmt: skip


class Stopped(BaseException):
    """SIGTERM: raised in the main thread wherever it is, mostly in a read from the network."""


def image_write(request: dict[str, Any]) -> dict[str, Any]:
    """Handler of image.write; request and response as in its manifest."""
    started = time.monotonic()
    expected = request.get("sha256", "").lower()
    if not expected:
        plugin.warn("No sha256 was given: that the image is the right one was not checked")
    target = Target(request["device"])
    source = Source(request["url"], request.get("headers", {}), request.get("patience_s", 30), bool(expected))
    try:
        digest = stream(source, target, expected, request.get("size_bytes"))
    finally:
        source.close()
        target.close()
    return {
        "device": request["device"],
        "bytes_written": target.written,
        "sha256": digest,
        "seconds": round(time.monotonic() - started, 3),
        "resumed": source.resumed,
    }


def stream(source: Source, target: Target, expected: str, size: int | None = None, *, algorithm: str = "sha256",
           look: Callable[[bytes], object] | None = None) -> str:  # fmt: skip
    """All of `source` onto `target`, which boots nothing unless the digest is `expected` ("": not checked).

    `look` sees the first KiB or more before anything is written, and may raise. Returns the digest.
    """
    begun = False

    def first(data: memoryview) -> None:
        nonlocal begun
        refuse_format(bytes(data[:16]), source.url)
        if look is not None:
            look(bytes(data[:8192]))
        begun = True
        target.begin()

    try:
        signal.signal(signal.SIGTERM, _stop)
        source.open()
        check_size(source, target, size)
        digest = pump(source, target.write, first=first, progress=_progress(source), algorithm=algorithm)
        check_result(source, digest, expected, size, algorithm)
        # From here on it is an image: a cancel that comes now comes too late to be obeyed.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        target.finish()
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _abandon(source, target, error, begun) from None
    plugin.progress(
        target.written, target.written, "bytes", "written and verified" if expected else "written"
    )
    return digest


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise Stopped


def refuse_format(start: bytes, url: str) -> None:
    """Raise Failed("not_raw") for the first bytes of a file that is no raw disk image."""
    if not start:
        raise plugin.Failed("empty", f"{shown(url)} is empty")
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise plugin.Failed(
                "not_raw", f"{shown(url)} is {name}, not a raw disk image; publish it unpacked"
            )


def check_size(source: Source, target: Target, expected: int | None) -> None:
    """What can be refused before the first byte is written."""
    size = source.size
    if expected is not None and size is not None and size != expected:
        message = f"{shown(source.url)} has {size} bytes, expected were {expected}"
        raise plugin.Failed("wrong_size", message, details={"expected": expected, "found": size})
    known = size if size is not None else expected
    if known is not None and known > target.size:
        raise too_large(target.device, target.size, known)
    if known is None and not source.digest_known:
        plugin.warn("Nobody tells the size: an image that was cut off would not be noticed")


def check_result(source: Source, digest: str, expected: str, size: int | None, algorithm: str = "sha256") -> None:
    """The verdict on what was read."""
    if size is not None and source.offset != size:
        message = f"{shown(source.url)} gave {source.offset} bytes, expected were {size}"
        raise plugin.Failed("wrong_size", message, details={"expected": size, "found": source.offset})
    if expected and digest != expected:
        name = algorithm.upper().replace("SHA", "SHA-").replace("--", "-")
        message = f"{shown(source.url)} has {name} {digest}, expected was {expected}"
        raise plugin.Failed("digest_mismatch", message, details={"expected": expected, "found": digest})


def _progress(source: Source) -> Callable[[int], None]:
    started = time.monotonic()

    def report(done: int) -> None:
        # One byte short of the total until the verdict: "all done" is said once, by who knows it.
        rate = done / max(time.monotonic() - started, 0.001) / (1 << 20)
        total = source.size
        plugin.progress(min(done, total - 1) if total else done, total, "bytes", f"{rate:.1f} MiB/s")

    return report


def _abandon(source: Source, target: Target, error: BaseException, begun: bool) -> BaseException:
    """Wipe the ends if writing had begun; returns the error to raise, which tells the state of the disk."""
    if isinstance(error, Stopped):
        error = plugin.Failed("stopped", f"stopped after {source.offset} bytes of {shown(source.url)}")
    elif isinstance(error, OSError):
        error = plugin.Failed("write_failed", f"{target.device}: {error.strerror or error}")
    state = "was not touched"
    if begun:
        try:
            target.abandon()
            state = "holds no image now, its first and last MiB are wiped"
        except OSError as trouble:
            state = f"could not be wiped ({trouble.strerror}) and is in an unknown state"
    if isinstance(error, plugin.Failed):
        error.message += f"; {target.device} {state}"
        error.args = (error.message,)
        error.partial = {"bytes_written": target.written, "disk": "untouched" if not begun else "wiped"}
    return error
