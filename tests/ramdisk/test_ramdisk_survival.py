"""SIGKILL to processes of the agent in the middle of an image write: the write goes on, and its report is true."""

import hashlib
import os

import pytest

from tests.support.guest_processes import ROLES, kill, processes, wait_for_new
from tests.support.image_host import ImageHost
from tests.support.rack import Guest

SIZE, HELD_AT = 12 << 20, 4 << 20


@pytest.mark.parametrize("victims", [("front",), ("runner",), ("supervisor",), ROLES], ids="+".join)
def test_an_image_write_outlives_the_agent(guest: Guest, images: ImageHost, victims: tuple[str, ...]):
    image = os.urandom(SIZE)
    name, digest = f"{'-'.join(victims)}.raw", hashlib.sha256(image).hexdigest()
    url = images.offer(name, image)
    before = processes(guest)
    assert set(before) == set(ROLES)
    with images.held(name, HELD_AT) as gate:
        command = guest.api.start(
            "image.write",
            {
                "device": guest.device("VIRTIO-TWO"),
                "sources": url,
                "digest": digest,
                "patience_s": 300,
            },
        )
        gate.wait_reached()
        kill(guest, victims, before)
        wait_for_new(guest, victims, before)
        assert guest.api.get(f"/v1/commands/{command['id']}")["command_status"] == "RUNNING"
    ended = guest.api.ended(command["id"])
    with guest.disk_file("VIRTIO-TWO").open("rb") as disk:
        assert disk.read(SIZE) == image, "an end was reported before it was there"
    if victims == ROLES and ended["command_status"] == "FAILED":
        # All who could have seen it end are dead; then the agent says so, and does not guess.
        assert ended["command_error"]["type"] == "OutcomeUnknown", ended
    else:
        assert ended["command_status"] == "SUCCEEDED", ended
        assert ended["command_result"]["digests"] == {"sha256": digest}
