"""Decoder of qcow2 that reads the file once, in order, and keeps none of it.

The header and the tables are fetched before, by read_at(): they tell where each part of the stream
goes. When the stream reaches them they must equal what was fetched, so that the digest of the
stream covers them too.
"""

import hashlib
from collections.abc import Iterator

from agent_router import plugin
from agent_router.image.formats import unpackers
from agent_router.image.formats.magic import LOOK, refuse_mismatch
from agent_router.image.formats.qcow2.clusters import Clusters
from agent_router.image.formats.qcow2.header import LENGTH, parse
from agent_router.image.formats.qcow2.tables import COMPRESSED, DATA, Run, Tables
from agent_router.image.protocols import InOrderOnly, Sink, Source

# Clusters of the file that several parts of the disk share are written to each of them.
MOST_SHARED = 65536


class Qcow2:
    """begin() refuses all that can be refused; what no table refers to is never written, so it is zeros."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._position = 0
        self._kept, self._kept_at = (
            b"",
            0,
        )  # the end of the stream so far, if it holds the beginning of something incomplete
        self._begun: list[Run] = []  # DATA that the stream has brought in part

    def begin(self, source: Source) -> None:
        self.name = source.name
        start = self._first_bytes(source)
        refuse_mismatch(start[:LOOK], "qcow2", self.name)
        header = parse(start, self.name)
        if header.zstd:
            unpackers.zstd_module()
        self.sink.expect(header.size)
        if header.dirty:
            plugin.warn(f"{self.name} was not closed before it was published: its content may be inconsistent")
        assert source.size is not None
        self._tables = Tables(header, source, source.size)
        self._tables.load(start)
        self._clusters = Clusters(header, self.name, self.sink)
        self._runs: Iterator[Run] = self._tables.ordered()
        self._next = next(self._runs, None)

    def feed(self, data: memoryview) -> None:
        end = self._position + len(data)
        begun, self._begun = self._begun, []
        for rest in begun:
            self._copy(rest, data, end)
        while (run := self._next) is not None and run.host < end:
            if run.kind == DATA:
                self._copy(run, data, end)
            elif run.host + run.length <= end:
                self._whole(run, self._cut(run.host, run.length, data))
            else:
                break
            self._next = next(self._runs, None)
        self._keep(min(run.host, end) if run else end, data)
        self._position = end

    def finish(self) -> None:
        self._clusters.finish()
        if self._next is not None or self._begun:
            message = f"{self.name} ends after {self._position} bytes, but its tables refer to more: publish it again"
            raise plugin.Failed("truncated", message)

    def _first_bytes(self, source: Source) -> bytes:
        if source.size is None:
            raise InOrderOnly
        return source.read_at(0, min(LENGTH, source.size))

    def _copy(self, run: Run, data: memoryview, end: int) -> None:
        """Write what is there of a run; the rest comes with the next bytes."""
        host, last, shift = run.host, min(run.host + run.length, end), run.guest - run.host
        if host < self._position:
            edge = min(last, self._position)
            self.sink.write(host + shift, self._kept[host - self._kept_at : edge - self._kept_at])
            host = edge
        if host < last:
            self.sink.write(host + shift, data[host - self._position : last - self._position])
        if last < run.host + run.length:
            if len(self._begun) >= MOST_SHARED:
                raise plugin.Failed(
                    "unsafe_image", f"{self.name} has too many clusters that share one part of the file"
                )
            self._begun.append(Run(last, run.host + run.length - last, last + shift, DATA))

    def _whole(self, run: Run, found: bytes) -> None:
        if run.kind == COMPRESSED:
            self._clusters.add(run.guest, found)
        elif hashlib.sha256(found).digest() != self._tables.digests[run.guest]:
            raise plugin.Failed("bad_image", f"{self.name} was replaced while it was read: start again")

    def _cut(self, host: int, length: int, data: memoryview) -> bytes:
        """These bytes of the stream, of which a part may have come before `data`."""
        if host >= self._position:
            return bytes(data[host - self._position :][:length])
        before = self._kept[host - self._kept_at :][:length]
        return before + bytes(data[: length - len(before)])

    def _keep(self, first: int, data: memoryview) -> None:
        """Keep the stream from `first` on: less than the largest compressed cluster, 4 MiB, and `data`."""
        if first < self._position:
            self._kept = self._kept[first - self._kept_at :] + data
        else:
            self._kept = bytes(data[first - self._position :])
        self._kept_at = first
