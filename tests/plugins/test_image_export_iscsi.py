"""image.export_iscsi with the real tgt, and qemu-img as the other machine."""

import os
import signal
import socket
import subprocess

import pytest

from tests.support.disk_content import MIB, content
from tests.support.iscsi import CHAP, NAME, PASSWORD, USER, cancelled, export, group_is_empty, port, tools  # noqa: F401
from tests.support.plugin import PluginFailed, problems
from tests.support.waiting import wait_for


def qemu_img(*argv: object) -> str:
    command = ["qemu-img", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("request_", [
    {"device": "/dev/sda"}, {"device": "/dev/sda", "initiators": []}, {"device": "sda", "initiators": ["ALL"]},
    {"device": "/dev/sda", "initiators": ["all"]}, {"device": "/dev/sda", "initiators": ["ALL"], "user": "a"},
    {"device": "/dev/sda", "initiators": ["ALL"], "password": PASSWORD},
    {"device": "/dev/sda", "initiators": ["ALL"], "user": "a", "password": "short"},
    # tgtd would take what follows a comma as another option.
    {"device": "/dev/sda", "initiators": ["ALL"], "user": "a", "password": "password,user=x"},
    {"device": "/dev/sda", "initiators": ["ALL"], "iqn": "iqn.2026-11.org.example,x"},
])  # fmt: skip
def test_schema_refuses(request_):
    assert problems(NAME, "request", request_)


@pytest.mark.root
@tools
def test_what_is_written_to_it_is_on_the_disk(export, loop_disk, tmp_path):  # noqa: F811
    disk, image = loop_disk(16), os.urandom(16 * MIB)
    (tmp_path / "image").write_bytes(image)
    running, url = export(disk)
    qemu_img("convert", "-n", "-f", "raw", "-O", "raw", tmp_path / "image", url)
    end = cancelled(running)
    assert (end.code, end.partial["url"]) == ("stopped", url)
    assert content(disk) == image
    assert group_is_empty(running), "tgtd is still there"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.split("/")[2].partition(":")[2])))
    left = [path.name for path in (running.directory / "cwd").iterdir()]
    assert left == []


@pytest.mark.root
@tools
def test_it_ends_by_itself_and_tells_who_was_there(call, export, loop_disk):  # noqa: F811
    disk = loop_disk(16)
    running, url = export(disk, duration_s=3, iqn="iqn.2026-11.org.example:disk")
    assert url.endswith("/iqn.2026-11.org.example:disk/1")
    reader = subprocess.Popen(["qemu-nbd", "-r", "-t", f"--socket={running.directory}/cwd/s", url])
    try:
        answer = running.finish()
    finally:
        reader.kill()
        reader.wait()
    assert answer["seen"] == ["127.0.0.1"]
    assert 3 <= answer["seconds"] < 6
    assert "still used the disk" in call.warnings[0]


@pytest.mark.root
@tools
def test_only_who_knows_the_password_gets_in(call, export, loop_disk):  # noqa: F811
    disk = loop_disk(16)
    running, url = export(disk, **CHAP)
    listing = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert "tgtd" in listing
    assert PASSWORD not in listing + running.log + str(running.events)
    with pytest.raises(AssertionError, match="Authentication failure"):
        qemu_img("info", url)
    with pytest.raises(AssertionError, match="Authentication failure"):
        qemu_img("info", url.replace("//", f"//{USER}%wrong-horse-battery@"))
    assert "16 MiB" in qemu_img("info", url.replace("//", f"//{USER}%{PASSWORD}@"))


@pytest.mark.root
@tools
def test_others_are_not_let_in(export, loop_disk):  # noqa: F811
    disk = loop_disk(16)
    _, url = export(disk, initiators=["192.0.2.7", "198.51.100.9/24"])
    with pytest.raises(AssertionError, match="Target not found"):
        qemu_img("info", url)


@pytest.mark.root
@tools
def test_a_network_is_let_in_and_read_only_is_kept(export, loop_disk, tmp_path):  # noqa: F811
    disk = loop_disk(16)
    before = content(disk)
    (tmp_path / "image").write_bytes(bytes(16 * MIB))
    _, url = export(disk, initiators=["127.0.0.0/8"], read_only=True)
    with pytest.raises(AssertionError):
        qemu_img("convert", "-n", "-f", "raw", "-O", "raw", tmp_path / "image", url)
    assert content(disk) == before


@pytest.mark.root
@tools
def test_the_sectors_of_the_disk_are_those_of_the_lun(export, loop_disk):  # noqa: F811
    running, _ = export(loop_disk(16, sector_size=4096))
    cwd = running.directory / "cwd"
    place = next(cwd.glob("tgt-*")).name
    argv = ["tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target"]
    shown = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "TGT_IPC_SOCKET": f"./{place}/socket"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Block size: 4096" in shown


@pytest.mark.root
@tools
@pytest.mark.parametrize("more", [{}, {"address": "0.0.0.0"}])
def test_the_url_has_the_address_that_faces_the_initiator(call, loop_disk, port, more):  # noqa: F811
    running = call.start(
        NAME, device=loop_disk(16), initiators=["127.0.0.0/8"], port=port, read_only=False, duration_s=30, **more
    )
    url = running.wait_for_event("done")["message"]
    assert url.startswith(f"iscsi://127.0.0.1:{port}/iqn.")
    assert "16 MiB" in qemu_img("info", url)
    cancelled(running)


@pytest.mark.root
@tools
def test_a_port_in_use_fails_with_a_sentence(call, loop_disk, port):  # noqa: F811
    disk = loop_disk(16)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PluginFailed, match=f"cannot listen on 127.0.0.1:{port}") as failed:
            call(NAME, device=disk, initiators=["ALL"], address="127.0.0.1", port=port, read_only=False, duration_s=5)
    assert failed.value.code == "port_in_use"


@pytest.mark.root
def test_a_bad_initiator_is_named(call, loop_disk):
    disk = loop_disk(16)
    with pytest.raises(PluginFailed, match=r"192\.0\.2\.300 is neither an address") as failed:
        call(NAME, device=disk, initiators=["192.0.2.300"], read_only=False, port=1, duration_s=1)
    assert (failed.value.code, failed.value.exit_status) == ("bad_initiator", 64)


@pytest.mark.root
@tools
def test_a_disk_in_use_is_left_alone(call, loop_disk, port):  # noqa: F811
    disk = loop_disk(16)
    fd = os.open(disk, os.O_RDWR | os.O_EXCL)
    try:
        with pytest.raises(PluginFailed) as failed:
            call(NAME, device=disk, initiators=["ALL"], port=port, read_only=False, duration_s=5)
    finally:
        os.close(fd)
    assert (failed.value.code, failed.value.exit_status) == ("device_busy", 77)


@pytest.mark.root
@tools
def test_a_killed_plugin_leaves_no_target(export, loop_disk):  # noqa: F811
    running, _ = export(loop_disk(16))
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    wait_for(lambda: group_is_empty(running), "the end of the target")
