"""Give this process, and all that it starts, a network and mounts of its own: root only.

Test processes that run at the same time then share no port, no multicast group, no name of a network namespace. What
they mount and make is gone with them.
"""

import ctypes
import subprocess

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h


def enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "No namespaces can be made here; the tests need them as root")
    for command in (
        "mount --make-rprivate /",
        # What /sys/class/net shows belongs to the network in which /sys was mounted.
        "mkdir -p /run/netns /run/agent-router-tests",
        "mount -t tmpfs tmpfs /run/netns",
        "mount -t tmpfs tmpfs /run/agent-router-tests",
        "mkdir /run/agent-router-tests/cgroup",
        "mount --rbind /sys/fs/cgroup /run/agent-router-tests/cgroup",
        "mount -t sysfs sysfs /sys",
        "mount --rbind /run/agent-router-tests/cgroup /sys/fs/cgroup",
        "umount --lazy /run/agent-router-tests",
        "ip link set lo up",
        # A network card, as every machine has one; nobody is at the other end.
        "ip link add eth0 address 02:00:5e:00:53:07 type veth peer name cable0",
        "ip address add 198.51.100.7/24 dev eth0",
        "ip link set eth0 up",
        "ip link set cable0 up",
        "ip route add default dev eth0",
    ):
        subprocess.run(command.split(), check=True, stdin=subprocess.DEVNULL)
