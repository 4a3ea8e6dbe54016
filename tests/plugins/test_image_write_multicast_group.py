"""image.write from udpcast://, conducted by the seed: what happens to a group when one of it is in trouble."""

import os
import signal

import pytest

from tests.support.disk_content import MIB, content, digest, noise
from tests.support.lan import PORTBASE, inside, lan  # noqa: F401
from tests.support.plugin import PluginFailed
from tests.support.waiting import HANG_S

pytestmark = pytest.mark.root
URL = f"udpcast://:{PORTBASE}?wait_s=100"


@pytest.fixture
def image():
    return noise(8 * MIB + 4608)


@pytest.fixture
def large_image():
    """More than all buffers between the wire and a disk."""
    return noise(40 * MIB)


@pytest.fixture
def start(call, lan, loop_disk):  # noqa: F811
    """`start(node, image)` gives the running command and its disk."""

    def begin(node, image, sources=URL, **more):
        disk = loop_disk(len(image) // MIB + 8)
        with inside(node):
            return call.start("image.write", device=disk, sources=sources, digest=digest(image), **more), disk

    return begin


def assert_written(running, image):
    for command, disk in running:
        assert command.finish()["transport"] == "multicast"
        assert content(disk)[: len(image)] == image


def assert_one_session(seed, receivers):
    joined = [line for line in seed.heard if "New connection" in line]
    assert len(joined) == receivers
    assert len([line for line in seed.heard if line.startswith("Starting transfer")]) == 1
    assert seed.said == []


@pytest.mark.parametrize("lan", [6], indirect=True)
def test_one_session_reaches_all_though_packets_are_lost(start, lan, image):  # noqa: F811
    for node in lan.nodes:
        lan.lose(node)
    seed = lan.seed(image, receivers=6, wait_s=0)
    assert_written([start(node, image) for node in lan.nodes], image)
    assert all(lan.lost(node) for node in lan.nodes)
    assert_one_session(seed, 6)


def test_a_receiver_that_missed_the_answer_is_told_again(start, lan, image):  # noqa: F811
    for node in lan.nodes:
        lan.lose_the_first_answer(node)
    seed = lan.seed(image, receivers=3, wait_s=0)
    assert_written([start(node, image) for node in lan.nodes], image)
    assert [lan.lost(node) for node in lan.nodes] == [1, 1, 1]
    assert_one_session(seed, 3)


def test_a_disk_that_stands_still_for_a_while_is_waited_for(start, lan, large_image):  # noqa: F811
    seed = lan.seed(large_image, receivers=2, wait_s=0, rate_mbit=100, drop_s=30)
    running = [start(node, large_image) for node in lan.nodes[:2]]
    still = running[0][0]
    still.wait_for_event("done")
    os.kill(still.process.pid, signal.SIGSTOP)
    seed.wait_until_heard("Timeout notAnswered")
    os.kill(still.process.pid, signal.SIGCONT)
    assert_written(running, large_image)
    assert_one_session(seed, 2)


def test_who_waited_in_vain_is_not_counted_any_more(call, start, lan, image):  # noqa: F811
    seed = lan.seed(image, receivers=2, wait_s=0)
    early, _ = start(lan.nodes[0], image, f"udpcast://:{PORTBASE}?wait_s=1")
    with pytest.raises(PluginFailed, match="no transmission began on v0 within 1 s") as failed:
        early.finish()
    assert failed.value.code == "no_source"
    assert_written([start(node, image) for node in lan.nodes[1:]], image)
    assert [line.split()[0] for line in seed.heard if "(10.99.0.2)" in line] == ["Disconnecting"]
    assert_one_session(seed, 3)


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "in a group"])
def test_who_stands_still_too_long_takes_the_next_source(start, lan, serve, large_image, count):  # noqa: F811
    seed = lan.seed(large_image, receivers=count, wait_s=0, rate_mbit=100, drop_s=4)
    with inside(lan.nodes[0]):
        server = serve(large_image)
    running = [
        start(node, large_image, [URL, server.url], patience_s=patience_s)
        for node, patience_s in zip(lan.nodes[:count], (3, HANG_S), strict=False)
    ]
    still = running[0][0]
    still.wait_for_event("done")
    os.kill(still.process.pid, signal.SIGSTOP)
    seed.wait_until_heard("Dropping client")
    for command, _ in running[1:]:
        assert command.finish()["transport"] == "multicast"
    os.kill(still.process.pid, signal.SIGCONT)
    answer = still.finish()
    assert (answer["transport"], answer["failed"][0]["code"]) == ("http", "connection_lost")
    assert all(content(disk)[: len(large_image)] == large_image for _, disk in running)
    assert seed.said == ["10.99.0.2 was silent for 4 s and is left behind by the multicast session"]


def test_who_is_cancelled_takes_leave_and_nobody_waits(start, lan, large_image):  # noqa: F811
    seed = lan.seed(large_image, receivers=2, wait_s=0, rate_mbit=100)
    (cancelled, _), (other, disk) = [start(node, large_image) for node in lan.nodes[:2]]
    cancelled.wait_for_event("done")
    cancelled.terminate()
    seed.wait_until_heard("(10.99.0.2)")
    other.finish()
    assert content(disk)[: len(large_image)] == large_image
    ends = ("Disconnecting", "Dropping", "Transfer")
    assert [line.split()[0] for line in seed.heard if line.startswith(ends)][:2] == ["Disconnecting", "Transfer"]
