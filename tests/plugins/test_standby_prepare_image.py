import hashlib
from pathlib import Path

import pytest

from agent_router.deploy import node
from tests.support.disks import gpt_image, only_disks, remembering
from tests.support.image_server import ImageServer
from tests.support.plugin import manifest, problems

COMMAND = "standby.prepare_image"


def test_it_is_the_step_write_image_as_a_command():
    step, command = manifest("deploy.write_image"), manifest(COMMAND)
    for key in ("request", "response", "errors", "timeout_s", "effects"):
        assert command[key] == step[key]
    assert "steps" not in command
    assert problems(COMMAND, "request", {})


@pytest.mark.root
def test_writes_the_image(call, fake_tool, loop_disk, tmp_path):
    disk = loop_disk(16)
    only_disks(call, fake_tool, disk)
    remembering(call, tmp_path / "state")
    image = gpt_image(tmp_path / "image")
    server = ImageServer(image)
    try:
        info = {"id": "x", "urls": [server.url], "checksum": hashlib.sha256(image).hexdigest()}
        answer = call(COMMAND, image_info=info, root_device={"name": disk})
    finally:
        server.shutdown()
        server.server_close()
    assert answer["partition_table"] == "gpt"
    assert Path(disk).read_bytes()[1 << 20 : 7 << 20] == image[1 << 20 : 7 << 20]
    assert call("standby.get_partition_uuids") == {"root uuid": answer["root_uuid"]}


@pytest.mark.root
@pytest.mark.parametrize(("hints", "written"), [({}, 1), ({"root_device": {"serial": "FIRST"}}, 0)])
def test_sent_without_the_node_it_takes_the_hints_that_ironic_told_before(
    call, fake_tool, loop_disk, tmp_path, hints, written
):
    disks = [loop_disk(16), loop_disk(16)]
    serials = dict(zip((Path(disk).name for disk in disks), ({"serial": "FIRST"}, {"serial": "SECOND"}), strict=True))
    only_disks(call, fake_tool, *disks, **serials)
    remembering(call, tmp_path / "state")
    (tmp_path / "state").mkdir()
    node.remember({"uuid": "u", "properties": {"root_device": {"serial": "SECOND"}}}, tmp_path / "state")
    image = gpt_image(tmp_path / "image")
    server = ImageServer(image)
    try:
        info = {"id": "x", "urls": [server.url], "checksum": hashlib.sha256(image).hexdigest()}
        answer = call(COMMAND, image_info=info, **hints)
    finally:
        server.shutdown()
        server.server_close()
    assert answer["device"] == disks[written]
    assert Path(disks[written]).read_bytes()[1 << 20 : 7 << 20] == image[1 << 20 : 7 << 20]
