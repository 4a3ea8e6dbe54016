"""Which part of a qcow2 file holds which part of the disk, in the order of the file.

All L2 tables are read and checked before anything is written. They are kept deflated, and one is unpacked only while
the stream passes the part of the file that it points to: in files written in one go that is one or two at a time,
64 KiB each. A file whose tables would take more than TABLES_LIMIT is refused. The digest of each table is kept, to
recognize it in the stream.
"""

import hashlib
import heapq
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from agent_router import plugin
from agent_router.image.formats.qcow2.header import LENGTH, Header, damaged
from agent_router.image.protocols import Source

# Bytes of memory. With clusters of 64 KiB, all in use: about 1 TiB written in one go, 130 GiB in any order.
TABLES_LIMIT = 32 << 20
MOST_TABLES = 32768  # 16 TiB with clusters of 64 KiB, 64 GiB with 4 KiB
# Tables this close together are one request, of at most this size.
GAP, REQUEST = 64 << 10, 1 << 20

DATA, COMPRESSED, METADATA = range(3)
OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED_BIT, _ZERO_BIT = 1 << 62, 1


class Run(NamedTuple):
    """`length` bytes at `host` in the file. DATA: the disk's from `guest` on; COMPRESSED: one cluster of it;
    METADATA: what was read before, `guest` is its number."""

    host: int
    length: int
    guest: int
    kind: int


class Reader:
    """Reads the L2 tables of one image; raises Failed("bad_image") for an entry that cannot be."""

    def __init__(self, header: Header, name: str, file_size: int) -> None:
        self.header, self.name, self.file_size = header, name, file_size
        # A compressed cluster's entry: its place in the file, above it how many more sectors it has.
        self._shift = 62 - (header.cluster_bits - 8)
        self._packed_at = (1 << self._shift) - 1
        self._sectors = (1 << (header.cluster_bits - 8)) - 1

    def runs(self, data: bytes, first: int) -> Iterator[Run]:
        """By `host`. `first` is the number of the table's first cluster; neighbours in file and disk are one run."""
        size, cluster, bits = self.header.size, self.header.cluster, self.header.cluster_bits
        table = words(data)
        # Entries beyond the end of the disk are ignored.
        del table[max(-(-size // cluster) - first, 0) :]
        host = length = guest = 0
        for number in self._order(table, first):
            entry, at = table[number], (first + number) << bits
            packed = entry & _COMPRESSED_BIT
            if not packed and entry & OFFSET == host + length and at == guest + length:
                length += min(cluster, size - at)
                continue
            if length:
                yield Run(host, length, guest, DATA)
            host, length, guest = entry & OFFSET, min(cluster, size - at), at
            if packed:
                length = 0
                yield self._compressed(entry, at)
        if length:
            yield Run(host, length, guest, DATA)

    def _order(self, table: "array[int]", first: int) -> "array[int]":
        """The numbers of the entries in use, by place in the file; small, since it stays while runs() is under way."""
        places = {}
        for number, entry in enumerate(table):
            if entry & _COMPRESSED_BIT:
                places[number] = entry & self._packed_at
            elif entry and (host := self._place(entry, first + number)):
                places[number] = host
        return array("I", sorted(places, key=places.__getitem__))

    def _place(self, entry: int, number: int) -> int:
        """Where an uncompressed cluster lies; 0 if it is zeros."""
        host = entry & OFFSET
        if host % self.header.cluster:
            guest = number << self.header.cluster_bits
            raise damaged(self.name, f"the cluster for byte {guest} of the disk begins at byte {host}")
        if entry & _ZERO_BIT:
            if self.header.version < 3:
                raise damaged(self.name, "it has clusters of zeros, which version 2 does not know")
            return 0
        return host

    def _compressed(self, entry: int, guest: int) -> Run:
        host = entry & self._packed_at
        length = ((entry >> self._shift & self._sectors) + 1) * 512 - host % 512
        # The last one may end before its last sector does.
        return Run(host, max(min(length, self.file_size - host), 1), guest, COMPRESSED)


def words(data: bytes) -> "array[int]":
    """Big-endian numbers of 64 bits."""
    found = array("Q", data)
    if sys.byteorder == "little":
        found.byteswap()
    return found


class L2Table(NamedTuple):
    """A deflated L2 table: the clusters from `first` on, which lie between `low` and `high` in the file."""

    low: int
    high: int
    first: int
    unpacked: int  # bytes of memory while it is unpacked
    packed: bytes


class Tables:
    """load() reads and checks them; ordered() is what to do with the stream. METADATA is known by `digests`."""

    def __init__(self, header: Header, source: Source, file_size: int) -> None:
        self.header, self.name, self.file_size = header, source.name, file_size
        self._source, self._reader = source, Reader(header, source.name, file_size)
        self._tables: list[L2Table] = []
        self._metadata: list[Run] = []  # by host
        self.digests: list[bytes] = []

    def load(self, start: bytes) -> None:
        """`start`: the first LENGTH bytes of the file. Raises Failed for what is outside the file or contradictory."""
        header = self.header
        l1_bytes = self._read(header.l1_offset, header.l1_entries * 8)
        first_of = self._first_clusters(l1_bytes)
        self._metadata = sorted(
            [Run(0, header.cluster, 0, METADATA), Run(header.l1_offset, len(l1_bytes), 1, METADATA)]
            + [Run(host, header.cluster, number, METADATA) for number, host in enumerate(first_of, 2)]
        )
        self._starts = [run.host for run in self._metadata]
        if any(a.host + a.length > b.host for a, b in zip(self._metadata, self._metadata[1:], strict=False)):
            raise damaged(self.name, "its header and tables overlap")
        self.digests = [hashlib.sha256(start[:LENGTH]).digest(), hashlib.sha256(l1_bytes).digest()]
        for host, data in self._l2_tables(list(first_of)):
            self.digests.append(hashlib.sha256(data).digest())
            self._add(first_of[host], data)
        self._limit_memory()

    def ordered(self) -> Iterator[Run]:
        """All runs by their place in the file. Each table is unpacked when it is its turn."""
        waiting = sorted(self._tables, reverse=True)
        metadata = (run._replace(length=LENGTH) if run.host == 0 else run for run in self._metadata if run.length)
        heap: list[tuple[Run, int, Iterator[Run]]] = [(next(metadata), -1, metadata)]
        while heap or waiting:
            while waiting and (not heap or waiting[-1].low <= heap[0][0].host):
                table = waiting.pop()
                runs = self._reader.runs(zlib.decompress(table.packed), table.first)
                heapq.heappush(heap, (next(runs), table.first, runs))
            run, number, runs = heap[0]
            yield run
            if (following := next(runs, None)) is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following, number, runs))

    def _first_clusters(self, l1_bytes: bytes) -> dict[int, int]:
        """{place of an L2 table in the file: the first cluster it is for}, by place."""
        header, found = self.header, {}
        for number, entry in enumerate(words(l1_bytes)):
            if host := entry & OFFSET:
                if host % header.cluster or host in found:
                    raise damaged(self.name, f"its L2 table {number} at byte {host} is misplaced")
                self._inside(host, header.cluster)
                found[host] = number * header.l2_entries
        if len(found) > MOST_TABLES:
            message = f"{self.name} has {len(found)} tables, since its clusters of {header.cluster} bytes are small"
            raise plugin.Failed("unsafe_image", f"{message}: make them larger, qemu-img convert -o cluster_size=2M")
        return dict(sorted(found.items()))

    def _l2_tables(self, places: list[int]) -> Iterator[tuple[int, bytes]]:
        """Each with its content, neighbours in one request."""
        cluster, begin = self.header.cluster, 0
        for end in range(1, len(places) + 1):
            last = end == len(places)
            if last or places[end] - places[end - 1] > cluster + GAP or places[end] - places[begin] > REQUEST - cluster:
                first = places[begin]
                data = self._read(first, places[end - 1] + cluster - first)
                yield from ((host, data[host - first : host - first + cluster]) for host in places[begin:end])
                begin = end

    def _add(self, first: int, data: bytes) -> None:
        """Check every entry of an L2 table; one without any is not kept."""
        low, high, entries = sys.maxsize, 0, 0
        for run in self._reader.runs(data, first):
            self._check(run)
            low, high = min(low, run.host), max(high, run.host + run.length)
            entries += -(-run.length // self.header.cluster) if run.kind == DATA else 1
        if entries:
            self._tables.append(L2Table(low, high, first, len(data) + 4 * entries, zlib.compress(data, 1)))

    def _check(self, run: Run) -> None:
        self._inside(run.host, run.length)
        nearest = self._metadata[bisect_left(self._starts, run.host + run.length) - 1]
        if nearest.host + nearest.length > run.host:
            raise damaged(self.name, f"the cluster for byte {run.guest} of the disk lies in its tables")

    def _inside(self, host: int, length: int) -> None:
        if host + length > self.file_size:
            message = f"{self.name} has {self.file_size} bytes and needs {host + length}: it was cut off"
            raise plugin.Failed("truncated", f"{message}, publish it again")

    def _read(self, offset: int, length: int) -> bytes:
        self._inside(offset, length)
        found = self._source.read_at(offset, length) if length else b""
        if len(found) != length:
            raise plugin.Failed("truncated", f"{self.name} gave {len(found)} of {length} bytes from byte {offset} on")
        return found

    def _limit_memory(self) -> None:
        """What ordered() will take at most: all deflated, and those that cover the same part of the file unpacked."""
        events = chain.from_iterable(((t.low, t.unpacked), (t.high, -t.unpacked)) for t in self._tables)
        now = most = 0
        for _, change in sorted(events):
            now += change
            most = max(most, now)
        need = most + sum(len(table.packed) for table in self._tables)
        if need > TABLES_LIMIT:
            message = f"the tables of {self.name} need {need >> 20} MiB of memory, more than {TABLES_LIMIT >> 20}"
            raise plugin.Failed("unsafe_image", f"{message}: make larger clusters, qemu-img convert -o cluster_size=2M")
