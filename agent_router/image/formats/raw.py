"""The image as it is on the disk. Nothing is copied: the sink gets the buffers that the source filled."""

from agent_router.image.formats.magic import LOOK, refuse_mismatch
from agent_router.image.protocols import Sink, Source


class Raw:
    """`content` is raw for a disk image, tar for an archive."""

    def __init__(self, sink: Sink, content: str = "raw") -> None:
        self._sink, self._content = sink, content
        self._name = ""
        self._offset = 0
        self._source: Source | None = None

    def begin(self, source: Source) -> None:
        self._name, self._source = source.name, source
        self._expect()

    def feed(self, data: memoryview) -> None:
        if not self._offset:
            refuse_mismatch(data[:LOOK], self._content, self._name)
            self._expect()  # of a small file the end was seen by now
        self._sink.write(self._offset, data)
        self._offset += len(data)

    def _expect(self) -> None:
        if self._source is not None and self._source.size is not None:
            self._sink.expect(self._source.size)

    def finish(self) -> None:
        # A raw image has no end marker; size and digest show whether it is complete.
        if not self._offset:
            refuse_mismatch(b"", self._content, self._name)
