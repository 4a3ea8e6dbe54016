"""Published files that must never become a disk: what is wrong, how it ends, and what is left of the disk then."""

import functools
import lzma
import os
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.packers import PACKERS, zst

MIB = 1 << 20
DISK_MIB = 8
SIZE = DISK_MIB * MIB
UNTOUCHED, WIPED = "untouched", "wiped"


def bootable(size: int = SIZE, sector: int = 512, noise: int = SIZE // 4) -> bytes:
    """Both ends look as firmware wants them: boot signature and GPT at the start, its backup at the end.

    So many bytes, half of them at each end, are noise: packed it still has several MiB, and it is not slow to pack.
    """
    head = tail = os.urandom(min(noise, size) // 2)
    between = b"".join(bytes([value]) * 4096 for value in os.urandom(size // 4096))
    image = bytearray(head + between[: size - len(head + tail)] + tail[::-1])
    image[510:512] = b"\x55\xaa"
    image[sector : sector + 8] = image[-sector : 8 - sector] = b"EFI PART"
    return bytes(image)


@dataclass(frozen=True)
class Bad:
    name: str
    format: str
    make: Callable[[bytes], bytes]
    code: str
    sentence: str
    disk: str
    habits: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    digest: bool = True  # the right one of what is published


def unsized_zst(data: bytes) -> bytes:
    """As a pipe is packed: the size is not in the header."""
    return zst(data, content_size_flag=0)


def greedy_xz(data: bytes) -> bytes:
    """Its dictionary of 1 GiB is asked for in the header alone: packing it takes no such memory."""
    # The .xz file format: block header with one filter, LZMA2 (0x21), its dictionary size in one byte (5.3.1).
    packed = bytearray(lzma.compress(data, check=lzma.CHECK_NONE, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    at = packed.index(b"\x21\x01", 12)
    packed[at + 2] = 36  # 2^30 bytes
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(packed[12 : end - 4]))
    return bytes(packed)


def greedy_zst(data: bytes) -> bytes:
    """A frame whose header asks for a window of 1 GiB (RFC 8878, 3.1.1.1.2), and has no size."""
    return b"\x28\xb5\x2f\xfd" + b"\0" + bytes([20 << 3]) + b"\x01\0\0" + data[:99]


def qemu(*words: str, raw: bytes = b"", name: str = "disk.qcow2") -> bytes:
    """The file that qemu-img makes; `raw` lies beside as disk.raw."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "disk.raw").write_bytes(raw or bytes(MIB))
        for command in " ".join(words).split(";"):
            subprocess.run(["qemu-img", *command.split()], cwd=directory, check=True, capture_output=True)
        return (Path(directory) / name).read_bytes()


def qcow2(image: bytes, *options: str) -> bytes:
    return qemu("convert -O qcow2", *options, "disk.raw disk.qcow2", raw=image)


def damaged_cluster(_: bytes) -> bytes:
    """Compressed data that is no longer any, in the second half."""
    found = bytearray(qcow2(os.urandom(SIZE // 2).hex().encode(), "-c"))
    found[2 * MIB : 3 * MIB] = b"\xff" * MIB
    return bytes(found)


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(64) + data[middle + 64 :]


SHORT = 3 * MIB


@functools.cache
def small(form: str) -> bytes:
    """A sound image."""
    return {"raw": bytes, "qcow2": qcow2, **PACKERS}[form](bootable(SHORT, noise=SHORT // 4))


def every() -> Iterator[Bad]:
    yield from _other_bytes()
    yield from _too_large()
    yield from _cut()
    yield from _undeclared()
    yield from _hostile()


def _other_bytes() -> Iterator[Bad]:
    for form, make in (("raw", bytes), *PACKERS.items(), ("qcow2", qcow2)):
        yield Bad(f"another digest, {form}", form, make, "digest_mismatch", "expected 9999", WIPED, digest=False)
    for form, make in PACKERS.items():
        broken = lambda image, make=make: damaged(make(image))  # noqa: E731
        yield Bad(f"damaged {form}", form, broken, "bad_image", f"its {form} data is damaged", WIPED)
        trailing = lambda image, make=make: make(image) + b"trailing garbage"  # noqa: E731
        yield Bad(f"something behind the {form}", form, trailing, "bad_image", f"is not {form}", WIPED)
    yield Bad("damaged cluster", "qcow2", damaged_cluster, "bad_image", "is a damaged qcow2 image", WIPED)


def _too_large() -> Iterator[Bad]:
    more = lambda image: image + b"x" * 512  # noqa: E731
    sentence = f"the image has {SIZE + 512} bytes"
    yield Bad("larger than the disk, announced", "raw", more, "too_large", sentence, UNTOUCHED)
    yield Bad("larger than the disk, not announced", "raw", more, "too_large", "is larger", WIPED, {"chunked": True})
    yield Bad("larger than asked for", "raw", bytes, "too_large", "allows 1048576", UNTOUCHED,
              request={"max_size_bytes": MIB})  # fmt: skip
    yield Bad("zst that knows its size", "zst", lambda image: zst(more(image)), "too_large", sentence, UNTOUCHED)
    bomb = lambda image: image[:SHORT] + bytes(3 * SIZE)  # noqa: E731
    for form, make in (*PACKERS.items(), ("zst", unsized_zst)):
        if make is not zst:
            packed = lambda image, make=make: make(bomb(image))  # noqa: E731
            yield Bad(f"bomb of {form}", form, packed, "too_large", "is larger", WIPED)
    yield Bad("qcow2 of 1 TiB", "qcow2", lambda image: qemu("create -f qcow2 disk.qcow2 1T"), "too_large",
              "the image has 1099511627776 bytes", UNTOUCHED)  # fmt: skip


def _cut() -> Iterator[Bad]:
    for form, make in PACKERS.items():
        cut = lambda image, make=make: make(image)[:-9]  # noqa: E731
        yield Bad(f"truncated {form}", form, cut, "truncated", f"in the middle of its {form} data", WIPED)
    yield Bad("truncated qcow2", "qcow2", lambda image: qcow2(image)[: SIZE // 2], "truncated", "cut off", UNTOUCHED)
    yield Bad("shorter than announced", "raw", bytes, "wrong_size", "ends after", WIPED, {"announce": SIZE},
              {"patience_s": 0.5})  # fmt: skip
    yield Bad(
        "shorter than asked for",
        "raw",
        lambda image: image[:-MIB],
        "wrong_size",
        f"expected {SIZE}",
        WIPED,
        {"chunked": True},
        {"size_bytes": SIZE},
    )
    yield Bad("connection cut for good", "raw", bytes, "connection_lost", "cannot resume", WIPED,
              {"cut_after": SIZE - 2 * MIB, "ranges": False})  # fmt: skip
    # With a digest it does not matter what the ETag says, see _another_image.
    yield Bad("replaced meanwhile", "raw", bytes, "digest_mismatch", "has SHA-256", WIPED,
              {"cut_after": SIZE - 2 * MIB, "on_request": _another_image})  # fmt: skip
    yield Bad("silent server", "raw", bytes, "connection_lost", "no new byte", WIPED,
              {"silent_after": SIZE - 2 * MIB, "on_request": _once}, {"patience_s": 0.5})  # fmt: skip
    yield Bad("empty", "raw", lambda image: b"", "empty", "is empty", UNTOUCHED)


def _another_image(habits: Any) -> None:
    """From the second request on there is another image of the same size."""
    habits.etag = f'"{len(habits.requests)}"'
    if len(habits.requests) > 1:
        habits.body = habits.body[:-1] + bytes([habits.body[-1] ^ 1])


def _once(habits: Any) -> None:
    """Only the first request is answered."""
    if len(habits.requests) > 1:
        habits.statuses = [503]


def _undeclared() -> Iterator[Bad]:
    forms = ("raw", *PACKERS, "qcow2")
    for declared in forms:
        for real in forms:
            if real != declared:
                yield Bad(
                    f"{real} declared as {declared}",
                    declared,
                    lambda _, real=real: small(real),
                    "wrong_format",
                    "declare",
                    UNTOUCHED,
                )
    for form in ("vmdk", "vdi", "vhdx", "qed"):
        for declared in ("raw", "qcow2"):
            make = lambda _, form=form: qemu(f"create -f {form} x {MIB}", name="x")  # noqa: E731
            yield Bad(
                f"{form} declared as {declared}",
                declared,
                make,
                "wrong_format",
                f"is a {form.upper()} image",
                UNTOUCHED,
            )
    text = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 9 FLAT "/etc/shadow" 0\n'
    yield Bad("vmdk that reads another file", "raw", lambda _: text.ljust(4096), "wrong_format", "VMDK", UNTOUCHED)
    yield Bad("web page", "raw", lambda _: b"<!DOCTYPE html>" * 99, "wrong_format", "HTML page", UNTOUCHED)


def _hostile() -> Iterator[Bad]:
    for name, words, sentence in (
        ("backing file", "create -f qcow2 -F raw -b disk.raw disk.qcow2", "has a backing file"),
        ("data file", "create -f qcow2 -o data_file=d disk.qcow2 1M", "in another file"),
        ("snapshots", "create -f qcow2 disk.qcow2 1M; snapshot -c one disk.qcow2", "has internal snapshots"),
        ("extended L2", "create -f qcow2 -o extended_l2=on disk.qcow2 1M", "subclusters"),
    ):
        make = lambda _, words=words: qemu(words)  # noqa: E731
        yield Bad(f"qcow2 with {name}", "qcow2", make, "unsafe_image", sentence, UNTOUCHED)
    yield Bad("xz that wants 1 GiB", "xz", lambda image: greedy_xz(image[:SHORT]), "unsafe_image",
              "needs more than 128 MiB of memory", UNTOUCHED)  # fmt: skip
    yield Bad("zst that wants 1 GiB", "zst", greedy_zst, "unsafe_image", "a window of more than 128 MiB", UNTOUCHED)
