"""image.write from udpcast://, with the real udpcast in network namespaces."""

import os

import pytest

from tests.support.disk_content import MIB, SHA, assert_boots_nothing, content, digest, noise
from tests.support.lan import PORTBASE, inside, lan, run  # noqa: F401
from tests.support.plugin import PluginFailed
from tests.support.staged import assert_staged, qcow2_of
from tests.support.waiting import HANG_S, wait_for

pytestmark = pytest.mark.root
URL = f"udpcast://:{PORTBASE}?wait_s=100"
FEC = ["--async", "--fec", "8x8/128", "--autostart", 4, "--rexmit-hello-interval", 500, "--max-bitrate", "200m",
       "--mcast-data-address", "239.77.1.1"]  # fmt: skip


@pytest.fixture
def image():
    return noise(8 * MIB + 4608)


def start(call, node, disk, sources=URL, **more):
    with inside(node):
        return call.start("image.write", device=disk, sources=sources, **more)


def receivers(count):
    return ["--min-receivers", count, "--max-wait", 100, "--rexmit-hello-interval", 250, "--min-wait", 2]


def test_several_machines_at_once(call, lan, loop_disk, image):  # noqa: F811
    disks = [loop_disk(16) for _ in lan.nodes]
    sender = lan.send(image, *receivers(3))
    running = [start(call, node, disk, digest=digest(image)) for node, disk in zip(lan.nodes, disks, strict=True)]
    answers = [one.finish() for one in running]
    assert [content(disk)[: len(image)] == image for disk in disks] == [True] * 3
    assert sender.wait(HANG_S) == 0
    assert lan.log.count("New connection") == 3
    assert {(answer["source"], answer["transport"], answer["bytes_read"]) for answer in answers} == {
        (f"udpcast://:{PORTBASE}", "multicast", len(image))
    }


@pytest.mark.parametrize("options", [receivers(2), FEC], ids=["asked for again", "corrected"])
def test_lost_packets_are_made_good(call, lan, loop_disk, image, options):  # noqa: F811
    nodes, disks = lan.nodes[:2], [loop_disk(16), loop_disk(16)]
    for node in nodes:
        lan.lose(node)
    running = [start(call, node, disk, digest=digest(image)) for node, disk in zip(nodes, disks, strict=True)]
    for node in nodes:
        lan.wait_for_receiver(node)
    lan.send(image, *options)
    for one in running:
        one.finish()
    assert [content(disk)[: len(image)] == image for disk in disks] == [True, True]
    assert all(lan.lost(node) for node in nodes)


def test_without_return_channel(call, lan, loop_disk, image):  # noqa: F811
    disk = loop_disk(16)
    running = start(call, lan.nodes[0], disk, digest=digest(image))
    lan.wait_for_receiver(lan.nodes[0])
    lan.send(image, *FEC)
    running.finish()
    assert content(disk)[: len(image)] == image
    assert "New connection" not in lan.log


def test_a_rendezvous_address_of_ones_own(call, lan, loop_disk, image):  # noqa: F811
    disk, group = loop_disk(16), "239.77.0.1"
    url = f"udpcast://{group}:{PORTBASE}?interface=v0&wait_s=100&rcvbuf=1048576"
    running = start(call, lan.nodes[0], disk, url, digest=digest(image))
    wait_for(lambda: group in run("ip", "-n", lan.nodes[0], "maddress", "show", "dev", "v0"), "a receiver in the group")
    lan.send(image, *receivers(1), "--mcast-rdv-address", group)
    running.finish()
    assert content(disk)[: len(image)] == image


def test_who_comes_late_takes_the_next_source(call, lan, serve, loop_disk, image):  # noqa: F811
    early, late = loop_disk(16), loop_disk(16)
    lan.send(image, *receivers(1), "--max-bitrate", "16m")
    first = start(call, lan.nodes[0], early, digest=digest(image))
    first.wait_for_event("done")
    with inside(lan.nodes[1]):
        server = serve(image)
    second = start(call, lan.nodes[1], late, [f"udpcast://:{PORTBASE}?wait_s=1", server.url], digest=digest(image))
    answer = second.finish()
    assert (answer["source"], answer["transport"]) == (server.url, "http")
    assert [(one["source"], one["code"]) for one in answer["failed"]] == [(f"udpcast://:{PORTBASE}", "no_source")]
    assert "no transmission began on v0 within 1 s" in answer["failed"][0]["message"]
    assert content(late)[: len(image)] == image
    assert first.process.poll() is None, "the transmission was over before the late one came"
    first.finish()
    assert content(early)[: len(image)] == image


def test_a_sender_that_dies_is_noticed(call, lan, loop_disk, image):  # noqa: F811
    disk = loop_disk(16)
    sender = lan.send(image, *receivers(1), "--max-bitrate", "16m")
    running = start(call, lan.nodes[0], disk, digest=digest(image), patience_s=2)
    running.wait_for_event("done")
    sender.kill()
    with pytest.raises(PluginFailed, match=r"broke off after \d+ bytes: the sender was silent for 2 s") as failed:
        running.finish()
    assert failed.value.code == "connection_lost"
    assert_boots_nothing(disk)


def test_a_wrong_image_is_wiped(call, lan, loop_disk, image):  # noqa: F811
    disk = loop_disk(16)
    lan.send(image, *receivers(1))
    with pytest.raises(PluginFailed) as failed:
        start(call, lan.nodes[0], disk, digest=SHA).finish()
    assert failed.value.code == "digest_mismatch"
    assert_boots_nothing(disk)


def test_a_cancel_ends_the_receiver(call, lan, loop_disk, image):  # noqa: F811
    disk = loop_disk(16)
    lan.send(image, *receivers(1), "--max-bitrate", "16m")
    running = start(call, lan.nodes[0], disk, digest=digest(image))
    running.wait_for_event("done")
    running.terminate()
    with pytest.raises(PluginFailed) as failed:
        running.finish()
    assert failed.value.code == "stopped"
    assert not os.path.exists(f"/proc/{running.process.pid}")
    with pytest.raises(ProcessLookupError):  # nobody is left in the group of the plugin
        os.killpg(running.process.pid, 0)


@pytest.mark.parametrize(("url", "more", "code", "message"), [
    (URL, {}, "no_digest", "anyone on the network can send by multicast"),
    ("udpcast://?interface=nope", {"digest": SHA}, "no_interface", "no interface nope"),
    ("udpcast://?wait_s=1", {"digest": SHA}, "no_source", "no transmission began on v0 within 1 s"),
    ("udpcast://:9001", {"digest": SHA}, "bad_url", "even"),
])  # fmt: skip
def test_refused_before_the_first_write(call, lan, loop_disk, url, more, code, message):  # noqa: F811
    disk = loop_disk(16)
    before = content(disk)
    with pytest.raises(PluginFailed, match=message) as failed:
        start(call, lan.nodes[0], disk, url, **more).finish()
    assert failed.value.code == code
    assert content(disk) == before


def test_a_ramdisk_without_udpcast_is_told_what_to_add(call, loop_disk):
    disk = loop_disk(16)
    call.hide_tools()
    with pytest.raises(PluginFailed, match="element agent-router-multicast") as failed:
        call("image.write", device=disk, sources="udpcast://?interface=lo", digest=SHA)
    assert failed.value.code == "tool_missing"


def test_qcow2_is_kept_at_the_end_of_the_disk_until_it_is_unpacked(call, lan, loop_disk, tmp_path):  # noqa: F811
    raw, published = qcow2_of(tmp_path)
    disk = loop_disk(16)
    sender = lan.send(published, *receivers(1))
    answer = start(call, lan.nodes[0], disk, digest=digest(published), format="qcow2").finish()
    assert (answer["transport"], answer["stats"]["bytes_kept"]) == ("multicast", len(published))
    assert_staged(disk, raw)
    assert sender.wait(HANG_S) == 0
