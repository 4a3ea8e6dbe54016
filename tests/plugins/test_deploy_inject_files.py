import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.disks import MIB, only_disks, partitions, remembering
from tests.support.image_server import ImageServer
from tests.support.plugin import PluginFailed, manifest, problems

STEP = "deploy.inject_files"


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def disk(call, fake_tool, loop_disk, tmp_path):
    """Two ext4 partitions, the second with /etc and links; it counts as deployed."""
    device = loop_disk(32)
    partitions(device, "start=2048, size=8MiB", "size=16MiB")
    tree = tmp_path / "tree"
    (tree / "etc/conf.d").mkdir(parents=True)
    (tree / "etc/old").write_text("old")
    (tree / "etc/link").symlink_to("/etc/conf.d")
    (tree / "etc/out").symlink_to("../../../../../../tmp")
    for number, source in ((1, []), (2, ["-d", str(tree)])):
        start, size = (1, 8) if number == 1 else (9, 16)
        subprocess.run(["mkfs.ext4", "-q", "-F", *source, "-E", f"offset={start * MIB}", device, f"{size}M"],
                       check=True, capture_output=True)  # fmt: skip
    only_disks(call, fake_tool, device)
    place = remembering(call, tmp_path / "state")
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"device": device, "root_uuid": "0x00000000"}))
    return device


@pytest.fixture
def look(disk, tmp_path):
    """look(number): a list of (path, mode, owner, content) of all files of a partition."""

    def read(number=2):
        place = tmp_path / "look"
        place.mkdir(exist_ok=True)
        start, size = (1, 8) if number == 1 else (9, 16)
        options = f"loop,ro,offset={start * MIB},sizelimit={size * MIB}"
        subprocess.run(["mount", "-o", options, disk, str(place)], check=True)
        try:
            files = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
            return {
                str(path.relative_to(place)): (path.stat().st_mode & 0o7777, path.stat().st_uid, path.read_bytes())
                for path in files
            }
        finally:
            subprocess.run(["umount", str(place)], check=True)

    return read


@pytest.mark.parametrize("file", [
    {}, {"path": ""}, {"path": "/a/b", "mode": "0644"}, {"path": "/a/b", "x": 1}, {"path": "/a/b", "partition": 0},
    {"path": "/a/b", "owner": -1},
])  # fmt: skip
def test_schema_refuses(file):
    assert problems(STEP, "request", {"files": [file]})
    assert problems(STEP, "request", {"node_files": [file]})


def test_the_content_is_a_secret():
    assert manifest(STEP)["$defs"]["file"]["properties"]["content"]["writeOnly"] is True


@pytest.mark.parametrize(("file", "said"), [
    ({"path": "/etc/"}, "is a directory"), ({"path": "/motd", "content": "eA=="}, "partition must be given"),
    ({"path": "/etc/x"}, "either content or deleted"),
    ({"path": "/etc/x", "content": "eA==", "deleted": True}, "either content or deleted"),
])  # fmt: skip
def test_what_makes_no_sense_is_said_at_once(call, file, said):
    with pytest.raises(PluginFailed, match=said) as failed:
        call(STEP, files=[file])
    assert failed.value.code == "bad_files"


def test_nothing_to_do(call):
    assert call(STEP) == {"device": None, "files": []}


@pytest.mark.root
def test_writes_a_file_into_the_partition_that_has_the_directory(call, disk, look):
    answer = call(STEP, files=[{"path": "/etc/motd", "content": packed(b"hello\n"), "mode": 0o600, "owner": 7}])
    assert answer == {"device": disk, "files": [{"path": "/etc/motd", "bytes": 6, "deleted": False}]}
    assert look()["etc/motd"] == (0o600, 7, b"hello\n")


@pytest.mark.root
def test_makes_directories_and_uses_ordinary_modes(call, disk, look):
    call(STEP, files=[{"path": "/etc/a/b/c", "content": packed(b"x"), "dirmode": 0o700}])
    assert look()["etc/a/b/c"] == (0o644, 0, b"x")


@pytest.mark.root
def test_a_partition_by_its_number(call, disk, look):
    call(
        STEP,
        files=[
            {"path": "/motd", "partition": 1, "content": packed(b"one")},
            {"path": "/etc/two", "partition": "1", "content": packed(b"two")},
        ],
    )
    assert look(1)["motd"][2] == b"one"
    assert look(1)["etc/two"][2] == b"two"


@pytest.mark.root
def test_a_file_is_taken_away(call, disk, look):
    call(STEP, files=[{"path": "/etc/old", "deleted": True}, {"path": "/etc/none", "deleted": True}])
    assert "etc/old" not in look()


@pytest.mark.root
def test_links_are_followed_within_the_image_and_never_out_of_it(call, disk, look):
    name = f"agent-router-{os.getpid()}"
    call(
        STEP,
        files=[{"path": "/etc/link/a", "content": packed(b"a")}, {"path": f"/etc/out/{name}", "content": packed(b"b")}],
    )
    assert look()["etc/conf.d/a"][2] == b"a"
    assert look()[f"tmp/{name}"][2] == b"b"
    assert not Path("/tmp", name).exists()


@pytest.mark.root
def test_files_of_the_node_come_first(call, disk, look):
    answer = call(
        STEP,
        files=[{"path": "/etc/x", "content": packed(b"step")}],
        node_files=[{"path": "/etc/x", "content": packed(b"node")}],
    )
    assert len(answer["files"]) == 2
    assert look()["etc/x"][2] == b"step"


@pytest.mark.root
def test_content_from_a_url_with_templates(call, disk, look):
    server = ImageServer(b"from the web")
    try:
        url = server.url.replace("disk.raw", "{node[uuid]}/{ports[0][address]}")
        call(STEP, files=[{"path": "/etc/x", "content": url}], node_uuid="u1", ports=[{"address": "52:54"}])
        with pytest.raises(PluginFailed, match=r"\{node\[secret\]\} in a URL is unknown") as failed:
            call(STEP, files=[{"path": "/etc/x", "content": server.url + "{node[secret]}"}], node_uuid="u1")
    finally:
        server.shutdown()
        server.server_close()
    assert failed.value.code == "bad_content"
    assert look()["etc/x"][2] == b"from the web"


@pytest.mark.root
@pytest.mark.parametrize(("file", "code"), [
    ({"path": "/srv/x", "content": "eA=="}, "no_partition"),
    ({"path": "/etc/x", "content": "eA==", "partition": 9}, "no_partition"),
    ({"path": "/etc/x", "content": "%%"}, "bad_content"), ({"path": "/etc/x", "content": "ftp://x/y"}, "bad_content"),
    ({"path": "/etc/old/x", "content": "eA=="}, "write_failed"),
    ({"path": "/etc/x", "content": "eA==", "partition": "/dev/loop-control"}, "device_not_allowed"),
])  # fmt: skip
def test_what_cannot_be_done(call, disk, look, file, code):
    before = look()
    with pytest.raises(PluginFailed) as failed:
        call(STEP, files=[file])
    assert failed.value.code == code
    assert look() == before
    assert "/tmp/agent-router-" not in Path("/proc/mounts").read_text()


@pytest.mark.root
def test_a_disk_outside_the_device_list_is_not_touched(call, disk):
    call.extra_env["AGENT_DEVICES"] = ""
    with pytest.raises(PluginFailed, match="allow-list") as failed:
        call(STEP, files=[{"path": "/etc/motd", "content": "eA=="}])
    assert failed.value.exit_status == 77
