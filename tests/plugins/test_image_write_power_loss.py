"""The power may fail at any moment: what has reached the disk by then, in whatever order, boots nothing."""

import os
import signal
import subprocess

import pytest

from tests.support.bad_images import SIZE, bootable
from tests.support.disk_content import MIB, content, digest
from tests.support.loop import backing_of
from tests.support.packers import zst

pytestmark = pytest.mark.root


class Backing:
    """What is on the medium itself: the page cache of the loop device is above it, and lost with the power."""

    def __init__(self, device):
        self.path = backing_of(device)
        self.before = self.ends()

    def ends(self):
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), MIB, 0), os.pread(file.fileno(), MIB, SIZE - MIB)

    def states(self):
        """Of each end: old (as before), zeros, or other. Each end is wiped by one write of a MiB, which a loop device
        splits into several for the medium: old and zeros may both be there for a moment."""
        return [self._state(old, new) for old, new in zip(self.before, self.ends(), strict=True)]

    def _state(self, old, new):
        pages = {self._page(old[at : at + 4096], new[at : at + 4096]) for at in range(0, MIB, 4096)}
        return pages.pop() if len(pages) == 1 else "wiping" if pages == {"old", "zeros"} else "other"

    def _page(self, old, new):
        return "zeros" if new == bytes(4096) else "old" if new == old else "other"


@pytest.fixture
def slow(call, serve, loop_disk):
    """An image that fills the disk, of which the last bytes do not come; the command that waits for them."""

    started = []

    def start(pack, form):
        disk, image = loop_disk(SIZE // MIB), bootable(noise=SIZE)
        published = pack(image)
        server, backing = serve(published), Backing(disk)
        server.pause_s, server.silent_after = 0.01, len(published) - MIB // 2
        running = call.start("image.write", device=disk, sources=server.url, digest=digest(published), format=form)
        started.append(running.process)
        return disk, image, backing, running

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("pack", "form"), [(bytes, "raw"), (zst, "zst")])
def test_at_no_moment_before_the_verdict_is_there_anything_to_boot(slow, call, serve, pack, form):
    disk, image, backing, running = slow(pack, form)
    seen, samples, middle = [], 0, False
    while not middle:
        assert running.process.poll() is None, running.log
        states, samples = backing.states(), samples + 1
        if states not in seen:
            seen.append(states)
        with open(disk, "rb") as file:
            middle = os.pread(file.fileno(), MIB, SIZE - 4 * MIB) == image[SIZE - 4 * MIB :][:MIB]
    assert samples > 20
    assert seen[0] == ["old", "old"], "the disk was as it had been until the image came"
    assert seen[-1] == ["zeros", "zeros"], "all but the ends is written, and they are not"
    assert {state for states in seen for state in states} <= {"old", "wiping", "zeros"}
    os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert backing.states() == ["zeros", "zeros"], "what was in the cache only is gone with the power"
    subprocess.run(["blockdev", "--flushbufs", disk], check=True)
    assert backing.states() == ["zeros", "zeros"], "and if it all got there, it boots nothing either"
    assert content(disk)[2 * MIB : SIZE - 4 * MIB] == image[2 * MIB : SIZE - 4 * MIB]
    call("image.write", device=disk, sources=serve(pack(image)).url, digest=digest(pack(image)), format=form)
    assert content(disk) == image


def test_the_old_system_is_gone_before_the_first_byte_of_the_image_is_there(slow):
    """Half an old system and half a new one must not boot: the wiping is on the medium before anything else."""
    disk, image, backing, running = slow(bytes, "raw")
    running.wait_until(lambda: content(disk)[MIB : MIB + 4096] == image[MIB : MIB + 4096])
    assert backing.states() == ["zeros", "zeros"]
    running.terminate()
    running.process.wait()
