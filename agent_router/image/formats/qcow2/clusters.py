"""Unpacks compressed clusters of qcow2 on all processors and gives them to the sink in order."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from agent_router.image.formats import unpackers
from agent_router.image.formats.qcow2.header import Header, damaged
from agent_router.image.protocols import Sink

# Handing work to another thread costs as much as unpacking some KiB, so clusters go in batches.
BATCH = 256 << 10  # bytes, unpacked
# QEMU packs with a 4 KiB window, and with zstd's default level, whose window is 2 MiB.
DEFLATE_WINDOW_LOG, ZSTD_WINDOW_LOG = 12, 22
Cluster = tuple[int, bytes]


class Clusters:
    """add() any number, then finish(). The sink is called in the caller's thread only."""

    def __init__(self, header: Header, name: str, sink: Sink) -> None:
        self.header, self.name, self.sink = header, name, sink
        self._batch: list[Cluster] = []
        self._size = max(BATCH >> header.cluster_bits, 1)
        workers = min(os.cpu_count() or 1, 4)
        self._running: deque[Future[list[Cluster]]] = deque()
        self._most = 2 * workers
        self._errors = unpackers.errors()
        self._pool = ThreadPoolExecutor(workers)

    def add(self, guest: int, packed: bytes) -> None:
        """The cluster for byte `guest` of the disk."""
        self._batch.append((guest, packed))
        if len(self._batch) >= self._size:
            self._send()
            while len(self._running) > self._most or (self._running and self._running[0].done()):
                self._write_oldest()

    def finish(self) -> None:
        if self._batch:
            self._send()
        while self._running:
            self._write_oldest()
        self._pool.shutdown()

    def _send(self) -> None:
        self._running.append(self._pool.submit(self._unpack_all, self._batch))
        self._batch = []

    def _write_oldest(self) -> None:
        for guest, data in self._running.popleft().result():
            self.sink.write(guest, data)

    def _unpack_all(self, batch: list[Cluster]) -> list[Cluster]:
        return [(guest, self._unpack(guest, packed)) for guest, packed in batch]

    def _unpack(self, guest: int, packed: bytes) -> bytes:
        """Exactly one cluster, of the last one as much as the disk has; raises Failed("bad_image")."""
        cluster = self.header.cluster
        make, window_log = (
            (unpackers.zstd_frame, ZSTD_WINDOW_LOG) if self.header.zstd else (unpackers.deflate, DEFLATE_WINDOW_LOG)
        )
        try:
            # What follows in its last sector belongs to the next cluster.
            data = make(window_log).decompress(packed, cluster + 1)
        except self._errors as error:
            raise damaged(self.name, f"the cluster for byte {guest} of the disk does not unpack ({error})") from None
        if len(data) != cluster:
            what = "more" if len(data) > cluster else f"{len(data)}"
            raise damaged(self.name, f"the cluster for byte {guest} of the disk has {what} bytes, not {cluster}")
        return data if guest + cluster <= self.header.size else data[: self.header.size - guest]
