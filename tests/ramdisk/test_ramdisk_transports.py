"""The same image by every transport: the disk holds it byte by byte. test_ramdisk_boot.py boots it."""

from typing import Any

import pytest

from tests.support import guest_deployments
from tests.support.rack import Guest, first_difference

TRANSPORTS = {"http zst": "http", "http qcow2": "http", "torrent": "torrent",
              "torrent zst": "torrent", "magnet": "torrent", "multicast": "multicast", "iscsi": "iscsi"}  # fmt: skip


@pytest.mark.parametrize("way", guest_deployments.DISKS)
def test_the_image_arrives(deployed: Any, secret: bytes, way: str):
    image, disk = deployed.publication.raw, deployed.disk(way)
    size = image.stat().st_size
    assert first_difference(image, disk) is None
    # There was something else everywhere before, so that the zeros of the image were really written.
    with disk.open("rb") as file:
        file.seek(size)
        assert file.read(1 << 20).count(secret) > 30000
    if way in TRANSPORTS:
        result = deployed.results[way]
        assert (result["transport"], result["bytes_written"], result["failed"]) == (TRANSPORTS[way], size, [])


def test_peers_alone_give_all_of_it(deployed: Any):
    deployed.disk("magnet")
    size = deployed.publication.raw.stat().st_size
    stats = deployed.results["magnet"]["stats"]
    # Holes are made on the spot.
    assert (stats["bytes_by_peers"] + stats["bytes_of_zeros"] >= size, stats["bytes_by_web_seeds"]) == (True, 0)


def test_a_lent_disk_ends_with_its_command(guest: Guest, deployed: Any):
    deployed.disk("iscsi export")
    assert deployed.results["iscsi export"]["error"] == "Cancelled"
    assert guest.shell("pgrep -x tgtd || echo none") == "none"
    # The kernel has looked for partitions again.
    assert guest.shell(f"lsblk -nlo TYPE {guest.device('BY-EXPORT')}").split() == ["disk", "part", "part"]
