"""image.write in the ramdisk: the disk holds the image, byte by byte."""

from typing import Any

import pytest
from image_host import ImageHost
from pinned import CommandFailed
from rack import Guest


def test_a_bootable_image_is_written(written: Any):
    assert written.command["command_status"] == "SUCCEEDED", written.command
    result = written.command["command_result"]
    assert (result["bytes_written"], result["sha256"]) == (len(written.image), written.sha256)
    with written.file.open("rb") as disk:
        assert disk.read(len(written.image)) == written.image


def test_a_wrong_digest_leaves_a_disk_that_does_not_boot(guest: Guest, images: ImageHost, tiny: Any):
    image = tiny.read_bytes()
    with pytest.raises(CommandFailed) as failed:
        guest.api.call("image.write", device=guest.device("VIRTIO-TWO"), url=images.offer("wrong.raw", image),
                       sha256="0" * 64)  # fmt: skip
    assert failed.value.error["plugin"]["code"] == "digest_mismatch"
    with guest.disk_file("VIRTIO-TWO").open("rb") as disk:
        assert disk.read(1 << 20).count(0) == 1 << 20
