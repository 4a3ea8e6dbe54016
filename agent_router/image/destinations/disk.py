"""The disk an image is written to. It is not bootable until finish(): its two ends are written last.

A boot loader, a GPT and its backup are in the first and the last MiB of a disk, so these are wiped first, kept in
memory while the rest is written, and written only after the digest is verified. abandon() wipes them again. The end of
an image that is shorter than the disk needs no such care: firmware and kernel look for the backup of a GPT in the last
block of the disk only (UEFI Specification, 5.3.2), and without the first MiB nothing leads to what is in between.
"""

import contextlib
import fcntl
import itertools
import os

from agent_router import plugin
from agent_router.image.destinations import zeros
from agent_router.image.destinations.extents import Extents
from agent_router.image.destinations.scratch_space import DiskScratchSpace, fit, no_room
from agent_router.image.destinations.writeback import Flusher
from agent_router.image.protocols import Buffer
from agent_router.storage import blockdev

MIB = 1 << 20
SECTOR = 512
GPT_SIGNATURE = b"EFI PART"  # at the start of logical block 1 (UEFI Specification, 5.3.2)
LOOK = 4096 + len(GPT_SIGNATURE)  # bytes; the largest logical block in use has 4096
BLKRRPART = 0x125F  # linux/fs.h: re-read the partition table
# Adjacent zeros are collected, so that a large hole is one system call.
LONGEST_RUN = 1 << 30
# What a disk without a command for zeros writes within a fraction of a second; longer holes may be left until flush().
SHORT_HOLE = 16 << 20


def split(offset: int, length: int, size: int) -> list[tuple[int, int, bool]]:
    """Cut a write into (start, end, held) at the edges of the two held ends of a disk of `size` bytes."""
    head, tail = ends(size)
    inside = (edge for edge in (head, tail) if offset < edge < offset + length)
    edges = itertools.pairwise(sorted({offset, offset + length, *inside}))
    return [(start, end, start < head or start >= tail) for start, end in edges]


def ends(size: int) -> tuple[int, int]:
    """(end of the first MiB, start of the last) of a disk, which may be smaller than both."""
    head = min(MIB, size)
    return head, max(size - MIB, head)


class Disk:
    """A DiskDestination."""

    source = "the image"
    abandoned = "holds no image now, its first and last MiB are wiped"
    holes_last = False

    def __init__(self, device: str, zero: str = "auto", max_size: int | None = None) -> None:
        self.device = device
        kernel_name = blockdev.kernel_name(device)
        if blockdev.limits(kernel_name).read_only:
            raise plugin.Refused("read_only", f"{device} is write-protected")
        self.sector = blockdev.limits(kernel_name).logical_block
        fd = blockdev.open_exclusive(device)
        self._set_up(fd, os.lseek(fd, 0, os.SEEK_END), zero, max_size)

    def _set_up(self, fd: int, size: int, zero: str, max_size: int | None) -> None:
        self.fd, self.size, self.mode = fd, size, zero
        self.limit = min(size, max_size or size)
        self.zeros = zeros.Zeroer(fd, zero)
        self._reset()

    def _reset(self) -> None:
        self.begun = False
        self.written = self.zeroed = 0
        head, tail = ends(self.size)
        self._head, self._tail = bytearray(head), bytearray(self.size - tail)
        self._given = Extents()
        self._run = (0, 0)
        self._lent: tuple[int, int] | None = None
        self._holes: list[tuple[int, int]] = []
        self._flusher = Flusher(self.fd)

    def expect(self, size: int) -> None:
        """Raise Failed("too_large") for an image that does not fit."""
        if size > self.limit:
            raise self._too_large(size)

    def refuse_start(self, start: Buffer) -> None:
        """Raise Incompatible for an image that begins with `start` and was made for other sectors."""
        refuse_sectors(bytes(start[:LOOK]), self.sector, self.source)

    def begin(self, image: int = 0) -> None:
        """Make the disk unbootable: from here on its old content is lost. Raises for a size that no disk has."""
        refuse_part_sector(image, self.source)
        self.begun = True
        self._wipe_ends()
        if self.mode == "discard":
            zeros.discard(self.fd, self.size)
            self._wipe_ends()

    def scratch_space(self, size: int | None, image: int) -> DiskScratchSpace:
        """Begin, and lend `size` bytes of the disk after an image of `image` bytes or more, until it is closed.

        If `size` is unknown, all that there is.

        Raises Failed("no_room") before anything is touched; so does a write() later, if the image is larger.
        """
        start, end = fit(size, ends(self.size)[1], image, self.device)
        refuse_part_sector(image, self.source)
        found = DiskScratchSpace(self.fd, start, end, self._clear_scratch_space)
        self.begin(image)
        self._lent = (start, end)
        return found

    def write(self, offset: int, data: Buffer) -> None:
        with memoryview(data) as view:
            self._take(offset, len(view))
            for start, end, held in split(offset, len(view), self.size):
                part = view[start - offset : end - offset]
                if held:
                    self._hold(start, part)
                elif self.mode == "none":
                    self._put(start, part)
                else:
                    self._write_sparse(start, part)

    hold = write  # by a source that writes to the disk by itself, and must leave both ends to finish()

    def zero(self, offset: int, length: int) -> None:
        self._take(offset, length)
        for start, end, held in split(offset, length, self.size):
            if not held:  # the ends are zeros until finish(), and what is held of them too
                self._zero(start, end)

    def mark(self, offset: int, length: int) -> None:
        """These bytes were written to the disk by the source (or are held)."""
        self._take(offset, length)

    def flush(self) -> None:
        """All of the image but the ends is on the disk; what was never written is zeros."""
        refuse_part_sector(self.written, self.source)
        # Look again, at a start that may have come in small pieces or late.
        self.refuse_start(memoryview(self._head)[: self.written])
        for start, end in list(self._given.gaps(self.written)):
            self.zero(start, end - start)
        self.settle()
        for hole in self._holes:
            self.zeros.zero(*hole)
        os.fsync(self.fd)

    def read(self, offset: int, length: int) -> bytes:
        """What the disk will have there after finish()."""
        found = bytearray(os.pread(self.fd, length, offset))
        for start, end, held in split(offset, len(found), self.size):
            if held:
                where, at = self._end_of(start)
                found[start - offset : end - offset] = where[at : at + end - start]
        return bytes(found)

    def amend(self, offset: int, data: bytes) -> None:
        """Change one of the ends before finish()."""
        self._hold(offset, memoryview(data))

    def finish(self) -> None:
        """Write the ends when everything else is on the disk; then it is an image."""
        zeros.pwrite(self.fd, memoryview(self._tail), ends(self.size)[1])
        zeros.pwrite(self.fd, memoryview(self._head), 0)
        os.fsync(self.fd)
        self._reread_partitions()

    def abandon(self) -> None:
        """Leave nothing that could be booted or mounted by mistake."""
        self._reset()
        self._wipe_ends()
        self._reread_partitions()

    def close(self) -> None:
        os.close(self.fd)

    def _clear_scratch_space(self, start: int, end: int) -> None:
        self.zeros.zero(start, end)
        os.fsync(self.fd)
        self._lent = None

    def _take(self, offset: int, length: int) -> None:
        end = offset + length
        if end > self.limit:
            raise self._too_large()
        if self._lent is not None and end > self._lent[0]:
            raise no_room(self.device, self._lent[1] - self._lent[0])
        self._given.add(offset, end)
        self.written = max(self.written, end)

    def _end_of(self, start: int) -> tuple[bytearray, int]:
        """The held end that a byte lies in, and where in it."""
        head, tail = ends(self.size)
        return (self._head, start) if start < head else (self._tail, start - tail)

    def _hold(self, start: int, part: memoryview) -> None:
        held, at = self._end_of(start)
        held[at : at + len(part)] = part

    def _write_sparse(self, offset: int, data: memoryview) -> None:
        for start, end, is_zeros in zeros.runs(data, offset):
            if is_zeros:
                self._zero(offset + start, offset + end)
            else:
                self._put(offset + start, data[start:end])

    def _put(self, offset: int, data: memoryview) -> None:
        zeros.pwrite(self.fd, data, offset)
        self._flusher.wrote(offset, offset + len(data))

    def _zero(self, start: int, end: int) -> None:
        self.zeroed += end - start
        first, last = self._run
        if last == start and end - first <= LONGEST_RUN:
            self._run = (first, end)
        else:
            self.settle()
            self._run = (start, end)

    def settle(self) -> None:
        """Write the pending zeros, or queue them with those that may be written last."""
        start, end = self._run
        if self.holes_last and end - start > SHORT_HOLE:
            self._holes.append((start, end))
        else:
            self.zeros.zero(start, end)
        self._run = (0, 0)

    def _wipe_ends(self) -> None:
        head, tail = ends(self.size)
        for start, end in ((0, head), (tail, self.size)):
            zeros.pwrite(self.fd, memoryview(bytes(end - start)), start)
        os.fsync(self.fd)

    def _reread_partitions(self) -> None:
        # A partition or a loop device has no table to read (EINVAL); the disk is right all the same.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, BLKRRPART)

    def _too_large(self, image: int | None = None) -> plugin.Failed:
        what = f"the image has {image} bytes" if image else "the image is larger"
        details = {"disk_bytes": self.size, "image_bytes": image}
        room = f"{self.device} has {self.size}"
        if self.limit < self.size:
            room, details = f"max_size_bytes allows {self.limit}", {**details, "max_size_bytes": self.limit}
        return plugin.Failed("too_large", f"{what}, {room}", details=details)


def refuse_part_sector(size: int, name: str) -> None:
    """Raise Failed("wrong_size") for a disk image, unpacked, of `size` bytes that are not whole sectors."""
    if size % SECTOR:
        message = (
            f"{name} has {size} bytes, unpacked, and a disk image has whole sectors of {SECTOR} bytes: check what the "
            "URL returns, or pad the image with truncate --size=%512"
        )
        raise plugin.Failed("wrong_size", message, details={"found": size, "sector": SECTOR})


def refuse_sectors(start: bytes, sector: int, name: str) -> None:
    """Raise Incompatible if the image has a GPT made for sectors of another size than the disk's."""
    for other in {512, 4096} - {sector}:
        if start[other : other + 8] == GPT_SIGNATURE and start[sector : sector + 8] != GPT_SIGNATURE:
            message = (
                f"{name} was made for sectors of {other} bytes and does not boot on this disk, which has "
                f"sectors of {sector} bytes; choose another disk or an image made for it"
            )
            raise plugin.Incompatible("sector_size", message)
