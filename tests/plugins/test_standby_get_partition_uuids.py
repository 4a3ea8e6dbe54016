import json

import pytest

from tests.support.disks import remembering
from tests.support.plugin import PluginFailed, problems

COMMAND = "standby.get_partition_uuids"


def test_schema():
    assert not problems(COMMAND, "request", {})
    assert problems(COMMAND, "request", {"x": 1})


def test_nothing_is_known_before_an_image_was_written(call, tmp_path):
    assert call(COMMAND) == {}
    remembering(call, tmp_path)
    assert call(COMMAND) == {}


def test_the_disk_identifier_of_the_image(call, tmp_path):
    place = remembering(call, tmp_path)
    place.parent.mkdir()
    place.write_text(json.dumps({"device": "/dev/sda", "image_id": "x", "root_uuid": "0x0000abcd"}))
    assert call(COMMAND) == {"root uuid": "0x0000abcd"}


def test_a_damaged_memory_is_said(call, tmp_path):
    place = remembering(call, tmp_path)
    place.parent.mkdir()
    place.write_text("{")
    with pytest.raises(PluginFailed, match="deploy again"):
        call(COMMAND)
