"""A network of their own for the tests of multicast: namespaces around a bridge, and senders in one of them."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_router.seed import sender as sender_module
from agent_router.seed.sender import Gathering, Group, Sender
from tests.support.waiting import wait_for

CLONE_NEWNET = 0x40000000  # linux/sched.h
PORTBASE = 9200
LOSS_PERCENT = 1


def run(*argv: object) -> str:
    return subprocess.run([*map(str, argv)], check=True, capture_output=True, text=True).stdout


class Lan:
    """`sender` and `nodes` are names of namespaces; each has an interface v0 in 10.99.0.0/24."""

    def __init__(self, count: int, directory: Path) -> None:
        self.directory = directory
        self.switch = f"art{os.getpid()}-switch"
        self.sender = f"art{os.getpid()}-sender"
        self.nodes = [f"art{os.getpid()}-node{number}" for number in range(count)]
        self.made: list[str] = []
        self.senders: list[subprocess.Popen[bytes]] = []
        self.seeds: list[Seed] = []

    def up(self) -> None:
        self._namespace(self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        for number, name in enumerate([self.sender, *self.nodes]):
            self._namespace(name)
            ends = ["v0", "netns", name, "type", "veth", "peer", "name", f"p{number}", "netns", self.switch]
            run("ip", "link", "add", *ends)
            run("ip", "-n", self.switch, "link", "set", f"p{number}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"10.99.0.{number + 1}/24", "brd", "+", "dev", "v0")
            run("ip", "-n", name, "link", "set", "v0", "up")
            run("ip", "-n", name, "route", "add", "default", "dev", "v0")

    def down(self) -> None:
        for seed in self.seeds:
            seed.sender.stop()
        for sender in self.senders:
            sender.kill()
            sender.wait()
        for name in reversed(self.made):
            run("ip", "netns", "delete", name)

    def lose(self, node: str) -> None:
        if shutil.which("iptables") is None:
            pytest.skip("needs iptables: loses packets")
        rule = ["INPUT", "-p", "udp", "-m", "statistic", "--mode", "random", "--probability", LOSS_PERCENT / 100]
        run("ip", "netns", "exec", node, "iptables", "-A", *rule, "-j", "DROP")

    def lose_the_first_answer(self, node: str) -> None:
        """The first packet from a sender to nobody but this node: that its request to take part was heard."""
        own = run("ip", "-n", node, "-br", "addr", "show", "dev", "v0").split()[2].partition("/")[0]
        rule = ["INPUT", "-p", "udp", "-d", own, "--sport", PORTBASE + 1]
        rule += ["-m", "statistic", "--mode", "nth", "--every", 1 << 30, "--packet", 0]
        run("ip", "netns", "exec", node, "iptables", "-A", *rule, "-j", "DROP")

    def lost(self, node: str) -> int:
        """Packets that lose() has taken away."""
        rule = run("ip", "netns", "exec", node, "iptables", "-vxnL", "INPUT").splitlines()[2]
        return int(rule.split()[0])

    def wait_for_receiver(self, node: str) -> None:
        """Until one listens there: a sender without return channel waits for nobody."""
        port = f":{PORTBASE:04X} "  # as /proc/net/udp has it

        def listens() -> bool:
            with inside(node):
                return port in Path("/proc/thread-self/net/udp").read_text()

        wait_for(listens, f"a receiver at {node}")

    def send(self, image: bytes, *options: object) -> subprocess.Popen[bytes]:
        """udp-sender of one image; its log is sender.log."""
        path = self.directory / "image"
        path.write_bytes(image)
        argv = ["udp-sender", "--nokbd", "--no-progress", "--interface", "v0", "--portbase", PORTBASE, "--file", path]
        with (self.directory / "sender.log").open("wb") as log:
            command = ["ip", "netns", "exec", self.sender, *map(str, [*argv, *options])]
            self.senders.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.senders[-1]

    def seed(self, image: bytes, **group: int) -> "Seed":
        """Sessions of one image, as `agent-router seed` conducts them."""
        path = self.directory / "image"
        path.write_bytes(image)
        with inside(self.sender):  # what a thread starts is where the thread was started
            self.seeds.append(Seed(path, Group(portbase=PORTBASE, interface="v0", **group)))
        return self.seeds[-1]

    @property
    def log(self) -> str:
        return (self.directory / "sender.log").read_text(errors="replace")

    def _namespace(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self.made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")


class Seed:
    """A Sender; `heard` are the lines of its udp-sender, `said` what it tells its user."""

    def __init__(self, path: Path, group: Group) -> None:
        self.heard: list[str] = []
        self.said: list[str] = []
        seed = self

        class Listening(Gathering):
            def hear(self, line: str, now: float) -> str:
                seed.heard.append(line)
                return super().hear(line, now)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sender_module, "Gathering", Listening)
            self.sender = Sender(path, group, self.said.append)
            self.sender.start()
            self.wait_until_heard("UDP sender for")

    def wait_until_heard(self, text: str) -> None:
        wait_for(lambda: any(text in line for line in self.heard), f"{text} among {self.heard}")


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """What this thread starts, or binds, is in that network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            if libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                sys.exit("the tests cannot go on in a network namespace that is not theirs")


@pytest.fixture
def lan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lan]:
    """Of three nodes, or as many as the indirect parameter says."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    if shutil.which("udp-sender") is None:
        pytest.skip("needs udpcast")
    made = Lan(getattr(request, "param", 3), tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.down()
