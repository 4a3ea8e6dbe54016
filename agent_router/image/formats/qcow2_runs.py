"""What one L2 table of a qcow2 image points to, by place in the file."""

import sys
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from agent_router.image.formats.qcow2_header import Header, damaged

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
        # What lies behind the end of the disk is not of it.
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
