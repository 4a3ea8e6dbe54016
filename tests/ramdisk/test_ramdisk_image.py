"""image.write in the ramdisk: the disk holds the image, byte by byte."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pinned import CommandFailed

from tests.support.image_host import ImageHost
from tests.support.rack import Guest, first_difference


def test_a_bootable_image_is_written(written: Any, tiny: Path):
    assert written.command["command_status"] == "SUCCEEDED", written.command
    result = written.command["command_result"]
    assert (result["bytes_written"], result["digests"]) == (len(written.image), {"sha256": written.sha256})
    assert first_difference(tiny, written.file) is None


def test_a_wrong_digest_leaves_a_disk_that_does_not_boot(guest: Guest, images: ImageHost, tiny: Any):
    image = tiny.read_bytes()
    with pytest.raises(CommandFailed) as failed:
        guest.api.call(
            "image.write", device=guest.device("VIRTIO-TWO"), sources=images.offer("wrong.raw", image), digest="0" * 64
        )
    assert failed.value.error["plugin"]["code"] == "digest_mismatch"
    with guest.disk_file("VIRTIO-TWO").open("rb") as disk:
        assert disk.read(1 << 20).count(0) == 1 << 20


def test_an_archive_with_its_attributes(guest: Guest, images: ImageHost):
    """GNU tar of the ramdisk restores what a tree is more than its bytes."""
    device, place = guest.device("VIRTIO-TWO"), "/mnt/tree"
    guest.shell(f"mkfs.ext4 -q -F {device} && mkdir -p {place} && mount {device} {place}")
    try:
        guest.api.call("image.write", tree=place, format="tar.gz", sources=images.offer("tree.tar.gz", archive()))
        found = guest.shell(f"cd {place}/etc && stat --format '%U %G %a' owned && {ATTRIBUTES}").splitlines()
    finally:
        guest.shell(f"umount {place}")
    assert found == ["daemon games 4640", "security.capability,system.posix_acl_access,user.colour", "blue"]


ATTRIBUTES = """/opt/agent-router/bin/python3 -c '
import os
print(*sorted(os.listxattr("owned")), sep=",")
print(os.getxattr("owned", "user.colour").decode())'"""


def archive() -> bytes:
    """One file with all of them; 1 is daemon and 60 games in Debian."""
    capability = "\x01\x00\x00\x02\x00\x04\x00\x00" + "\x00" * 12  # CAP_NET_BIND_SERVICE+ep, version 2
    member = tarfile.TarInfo("etc/owned")
    member.mode, member.uid, member.gid, member.size = 0o4640, 1, 60, 5
    member.pax_headers = {
        "SCHILY.xattr.user.colour": "blue",
        "SCHILY.xattr.security.capability": capability,
        "SCHILY.acl.access": "user::rw-,user:1000:r--,group::r--,mask::r--,other::---",
    }
    with io.BytesIO() as packed:
        with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as file:
            file.addfile(member, io.BytesIO(b"bytes"))
        return packed.getvalue()


def test_the_quick_unpackers_are_there(guest: Guest):
    assert guest.shell("/opt/agent-router/bin/python3 -c 'import backports.zstd, isal.igzip_lib; print(1)'") == "1"
