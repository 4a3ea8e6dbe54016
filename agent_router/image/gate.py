"""Lets an image through to its place, which is begun with the first byte and not before.

Whatever a decoder refuses before it has unpacked a byte leaves the place untouched.
"""

from agent_router import plugin
from agent_router.image.protocols import Buffer, Place

GPT_SIGNATURE = b"EFI PART"  # at the start of logical block 1 (UEFI Specification, 5.3.2)
LOOK = 4096 + len(GPT_SIGNATURE)  # bytes; the largest logical block in use has 4096


class Gate:
    """A Sink before a Place. `begun` is whether the place was touched."""

    def __init__(self, place: Place, source_name: str) -> None:
        self._place, self._source_name = place, source_name
        place.source = source_name
        self._begun = False
        self._expected = 0

    @property
    def begun(self) -> bool:
        # A source that writes the disk by itself begins it by itself.
        return self._begun or getattr(self._place, "begun", False)

    def expect(self, size: int) -> None:
        self._place.expect(size)
        self._expected = size

    def write(self, offset: int, data: Buffer) -> None:
        if not self._begun:
            if offset == 0:
                self._refuse_sectors(bytes(data[:LOOK]))
            self._begin()
        self._place.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        if not self._begun:
            self._begin()
        self._place.zero(offset, length)

    def flush(self) -> None:
        """The image is over: look at its start again, which may have come in small pieces or late."""
        if not self.begun:
            raise plugin.Failed("empty", f"{self._source_name} unpacks to nothing")
        if hasattr(self._place, "head"):
            self._refuse_sectors(self._place.head(LOOK))
        missing = self._expected - self._place.written
        if missing > 0:
            self._place.zero(self._place.written, missing)
        self._place.flush()

    def _begin(self) -> None:
        self._begun = True
        if not getattr(self._place, "begun", False):  # it is, when a part of it holds the published file meanwhile
            self._place.begin()

    def _refuse_sectors(self, start: bytes) -> None:
        if hasattr(self._place, "sector"):
            refuse_sectors(start, self._place.sector, self._source_name)


def refuse_sectors(start: bytes, sector: int, name: str) -> None:
    """Raise Incompatible if the image has a GPT made for sectors of another size than the disk's."""
    for other in {512, 4096} - {sector}:
        if start[other : other + 8] == GPT_SIGNATURE and start[sector : sector + 8] != GPT_SIGNATURE:
            message = (
                f"{name} was made for sectors of {other} bytes and does not boot on this disk, which has "
                f"sectors of {sector} bytes; choose another disk or an image made for it"
            )
            raise plugin.Incompatible("sector_size", message)
