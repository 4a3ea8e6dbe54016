"""Decoders of compressed raw images: gz, xz, zst, bz2.

A file may be many members one after the other (pigz -i, pzstd, xz of concatenated files); all
have to be whole, and nothing else may follow. Output comes in pieces of at most 1 MiB.
"""

from typing import ClassVar, NoReturn

from agent_router import plugin
from agent_router.image.formats import unpackers
from agent_router.image.formats.magic import LOOK, refuse_mismatch
from agent_router.image.protocols import Sink, Source

PIECE = 1 << 20
SMALLEST_STEP = 4096
ZST_HEADER = 18  # bytes of the longest header of a zstd frame (RFC 8878, 3.1.1.1)


class Compressed:
    """What the four have in common; each says how to begin a member and what may pad it.

    `content` is the format inside. Bytes reach the sink in order, without a gap.
    """

    format: ClassVar[str]
    padding: ClassVar[int] = 0  # zero bytes after a member come in multiples of this; 0: none may

    def __init__(self, sink: Sink, content: str = "raw") -> None:
        self.sink = sink
        self.content = content
        self.unpacked = 0
        self._member: unpackers.Unpacker | None = None
        self._members = 0
        self._head: bytearray | None = bytearray()
        self._read = self._zeros = self._member_began = 0
        # Input is given in steps, since what lies behind the end of a member is copied each time.
        self._step = PIECE
        self._errors = unpackers.errors()

    def begin(self, source: Source) -> None:
        self.name = source.name

    def new_member(self) -> unpackers.Unpacker:
        raise NotImplementedError

    def look(self, start: memoryview) -> None:
        """See the first bytes of a member."""

    def feed(self, data: memoryview) -> None:
        if not self._read and len(data):
            refuse_mismatch(data[:LOOK], self.format, self.name)
        while len(data):
            step, data = data[: self._step], data[self._step :]
            self._unpack(step)

    def finish(self) -> None:
        if self._member is not None:
            message = f"{self.name} ends in the middle of its {self.format} data, after {self._read} bytes"
            raise plugin.Failed("truncated", f"{message}: publish it again")
        if self._zeros and (not self.padding or self._zeros % self.padding):
            self._refuse(f"{self._zeros} bytes of zeros follow its end")
        if self._head is not None:
            self._check_head(self._head, whole=True)

    def _unpack(self, data: memoryview) -> None:
        rest: bytes | memoryview = data
        while len(rest):
            if self._member is None:
                rest = self._skip_padding(rest)
                if not len(rest):
                    return
                self.look(memoryview(rest))
                self._member, self._member_began = self.new_member(), self._read
            rest = self._drain(self._member, rest)

    def _skip_padding(self, data: bytes | memoryview) -> bytes | memoryview:
        if not self._members or data[0]:
            if self._zeros and (not self.padding or self._zeros % self.padding):
                self._refuse(f"{self._zeros} bytes of zeros lie between its parts")
            self._zeros = 0
            return data
        rest = bytes(data).lstrip(b"\0")
        self._zeros += len(data) - len(rest)
        self._read += len(data) - len(rest)
        return self._skip_padding(rest) if rest else rest

    def _drain(self, member: unpackers.Unpacker, data: bytes | memoryview) -> bytes:
        """Give all that `data` unpacks to; returns what lies behind the end of the member."""
        self._read += len(data)
        self._give(self._decompress(member, data))
        while not member.eof and not member.needs_input:
            self._give(self._decompress(member, b""))
        if not member.eof:
            return b""
        self._member = None
        self._members += 1
        rest = member.unused_data
        self._read -= len(rest)
        self._step = min(PIECE, max(SMALLEST_STEP, 2 * (self._read - self._member_began)))
        return rest

    def _decompress(self, member: unpackers.Unpacker, data: bytes | memoryview) -> bytes:
        try:
            return member.decompress(data, PIECE)
        except self._errors as error:
            self.explain(str(error))
            if self._members and self._read - self._member_began <= PIECE:
                self._refuse(f"what follows byte {self._member_began} is not {self.format} ({error})")
            self._refuse(f"its {self.format} data is damaged ({error})")

    def explain(self, error: str) -> None:
        """Raise a better error than bad_image, if there is one."""

    def _give(self, data: bytes) -> None:
        if self._head is None:
            if data:
                self.sink.write(self.unpacked, data)
                self.unpacked += len(data)
            return
        self._head += data
        if len(self._head) >= LOOK:
            self._check_head(self._head)

    def _check_head(self, head: bytearray, *, whole: bool = False) -> None:
        """Nothing is written before the first bytes show what it is."""
        refuse_mismatch(head[:LOOK], self.content, self.name, unpacked=True)
        if whole:
            self.sink.expect(len(head))
        self._head = None
        self._give(bytes(head))

    def _refuse(self, what: str) -> NoReturn:
        raise plugin.Failed("bad_image", f"{self.name}: {what}; publish it again")


class Gz(Compressed):
    format = "gz"
    padding = 1  # as gzip itself has it, for files that come from tapes

    def new_member(self) -> unpackers.Unpacker:
        return unpackers.gzip_member()


class Bz2(Compressed):
    format = "bz2"

    def new_member(self) -> unpackers.Unpacker:
        return unpackers.bzip2_stream()


class Xz(Compressed):
    format = "xz"
    padding = 4  # the .xz file format, 2.2

    def new_member(self) -> unpackers.Unpacker:
        return unpackers.xz_stream()

    def explain(self, error: str) -> None:
        if "Memory usage limit" in error:
            limit = unpackers.XZ_MEMORY // unpackers.MIB
            message = f"{self.name} needs more than {limit} MiB of memory to unpack: pack it with xz -9 or less"
            raise plugin.Failed("unsafe_image", message)


class Zst(Compressed):
    format = "zst"

    def begin(self, source: Source) -> None:
        super().begin(source)
        unpackers.zstd_module()  # if it is missing, fail before anything is touched

    def new_member(self) -> unpackers.Unpacker:
        return unpackers.zstd_frame()

    def look(self, start: memoryview) -> None:
        size = zst_size(bytes(start[:ZST_HEADER]), self.name)
        if size:
            # The sum of all frames so far; more may follow.
            self.sink.expect(self.unpacked + size)

    def explain(self, error: str) -> None:
        if "too much memory" in error:
            limit = 1 << (unpackers.ZSTD_WINDOW_LOG - 20)
            message = f"{self.name} needs a window of more than {limit} MiB: pack it with zstd --long=27 or less"
            raise plugin.Failed("unsafe_image", message)


def zst_size(start: bytes, name: str) -> int:
    """The bytes that the zstd frame at `start` unpacks to; 0 if it does not say. Refuses one with a dictionary."""
    if start[:4] != b"\x28\xb5\x2f\xfd":  # a skippable frame has no such header
        return 0
    zstd = unpackers.zstd_module()
    try:
        frame = zstd.get_frame_info(start[:ZST_HEADER])
    except zstd.ZstdError:
        return 0  # truncated here; the decompressor reports that
    if frame.dictionary_id:
        message = f"{name} was packed with a dictionary ({frame.dictionary_id}): pack it without"
        raise plugin.Failed("unsafe_image", message)
    return frame.decompressed_size or 0
