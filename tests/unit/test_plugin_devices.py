import fnmatch
import os
import stat
import types
from glob import has_magic

import pytest

from agent_router.plugin import devices

# A made-up machine: two disks, sda with two partitions, links to them.
NODES = {
    "/dev/sda": (8, 0),
    "/dev/sda1": (8, 1),
    "/dev/sda2": (8, 2),
    "/dev/sdb": (8, 16),
    "/dev/cciss!c0d0p1": (104, 1),
    "/tmp/node": (8, 2),
    "/dev/mtdblock0": (31, 0),
    "/dev/md127": (9, 127),
    "/dev/md127p1": (259, 1),
    "/dev/dm-0": (253, 0),
    "/dev/dm-1": (253, 1),
}
LINKS = {
    "/dev/disk/by-id/one": "/dev/sda",
    "/dev/disk/by-id/one-part1": "/dev/sda1",
    "/dev/disk/by-path/x:y": "/dev/sdb",
}
FILES = ("/dev/null", "/etc/passwd")
BLOCK = {
    "8:0": "block/sda",
    "8:1": "block/sda/sda1",
    "8:2": "block/sda/sda2",
    "8:16": "block/sdb",
    "104:1": "block/cciss!c0d0/p1",
    "31:0": "block/mtdblock0",
    "9:127": "block/md127",
    "259:1": "block/md127/md127p1",
    "253:0": "block/dm-0",
    "253:1": "block/dm-1",
}


# An array of sda2 and sdb, a volume on it, a multipath device with the path sda.
SLAVES = {"9:127": ["sda2", "sdb"], "253:0": ["md127"], "253:1": ["sda"]}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    names = [*NODES, *LINKS, *FILES]

    def realpath(path):
        path = os.path.normpath(path)
        if path.startswith(devices.SYS_BLOCK):
            return "/sys/" + BLOCK[os.path.basename(path)]
        return LINKS.get(path, path)

    def stat_of(path):
        if path not in NODES and path not in FILES:
            raise FileNotFoundError(path)
        mode = stat.S_IFBLK if path in NODES else stat.S_IFCHR
        return types.SimpleNamespace(st_mode=mode, st_rdev=os.makedev(*NODES.get(path, (1, 3))))

    def listdir(path):
        number = path.split("/")[-2]
        if number not in SLAVES:
            raise FileNotFoundError(path)
        return SLAVES[number]

    def exists(path):
        if path.startswith("/sys/block/") and path.endswith("/partition"):
            return path.count("/") == 5
        return path in names

    def glob(pattern):
        return [name for name in names if fnmatch.fnmatchcase(name, pattern)]

    # Only for this module: pytest itself goes on in the real machine.
    path = types.SimpleNamespace(realpath=realpath, exists=exists, basename=os.path.basename, dirname=os.path.dirname)
    system = types.SimpleNamespace(path=path, stat=stat_of, listdir=listdir, major=os.major, minor=os.minor)
    monkeypatch.setattr(devices, "os", system)
    monkeypatch.setattr(devices, "glob", types.SimpleNamespace(glob=glob, has_magic=has_magic))


@pytest.mark.parametrize(("device", "patterns"), [
    ("/dev/sda", ["/dev/sda"]),
    ("/dev/sda", ["/dev/sd*"]),
    ("/dev/sda1", ["/dev/sda"]),
    ("/dev/sda1", ["/dev/sda1"]),
    ("/dev/sda", ["/dev/disk/by-id/one"]),
    ("/dev/disk/by-id/one-part1", ["/dev/disk/by-id/one"]),
    ("/dev/disk/by-id/one", ["/dev/sda"]),
    ("/dev/disk/by-path/x:y", ["/dev/disk/by-path/x:*"]),
    ("/dev/../dev/sda", ["/dev/sda"]),
    ("/dev/sdb", ["!/dev/sda", "/dev/sd?"]),
    ("/dev/sda2", ["/dev/sda", "!/dev/sda1"]),
    ("/dev/mtdblock0", ["/dev/*", "/dev/mtdblock0"]),
    ("/dev/md127", ["/dev/*", "!/dev/sda1"]),
])  # fmt: skip
def test_allowed(device, patterns):
    assert devices.refusal(device, patterns) == ""


@pytest.mark.parametrize(("device", "patterns", "reason"), [
    ("/dev/sda", [], "not in the agent's device allow-list (empty); start the agent with --devices /dev/sda"),
    ("/dev/sda", ["/dev/sda1"], "not in the agent's device allow-list (/dev/sda1)"),
    ("/dev/sda2", ["/dev/sda1", "/dev/sdb"], "(/dev/sda1, /dev/sdb)"),
    ("/dev/disk/by-id/one", ["/dev/sdb"], "/dev/disk/by-id/one is not in the agent's device allow-list"),
    ("/dev/sda", ["/dev/sd*", "!/dev/sda"], "/dev/sda is protected by '!/dev/sda'"),
    ("/dev/sda", ["!/dev/sda", "/dev/sd*"], "is protected by"),
    ("/dev/sda1", ["/dev/sd*", "!/dev/sda"], "is protected by"),
    ("/dev/sda1", ["/dev/sd*", "!/dev/disk/by-id/one"], "is protected by '!/dev/disk/by-id/one'"),
    ("/dev/disk/by-id/one", ["/dev/*", "!/dev/sd?"], "is protected by"),
    ("/dev/sda", ["/dev/sda", "!/dev/sda1"], "is protected by '!/dev/sda1'"),
    ("/dev/mtdblock0", ["/dev/*"], "not a disk of this machine, and wildcards of the device allow-list leave it out"),
    ("/dev/mtdblock0", ["/dev/*"], "--devices /dev/mtdblock0, without wildcards"),
    ("/dev/mtdblock0", ["/dev/mtdblock0", "!/dev/mtd*"], "is protected by"),
    ("/dev/md127", ["/dev/*", "!/dev/sdb"], "/dev/md127 is protected by '!/dev/sdb'"),
    ("/dev/md127p1", ["/dev/*", "!/dev/sdb"], "/dev/md127p1 is protected by '!/dev/sdb'"),
    ("/dev/md127", ["/dev/*", "!/dev/sda"], "is protected by '!/dev/sda'"),
    ("/dev/dm-0", ["/dev/*", "!/dev/disk/by-path/x:y"], "is protected by '!/dev/disk/by-path/x:y'"),
    ("/dev/dm-1", ["/dev/*", "!/dev/sda1"], "is protected by '!/dev/sda1'"),
    ("/dev/sdz", ["/dev/*"], "/dev/sdz does not exist"),
    ("", ["*"], " does not exist"),
    ("/dev/null", ["/dev/*"], "/dev/null is not a block device"),
    ("/etc/passwd", ["*"], "/etc/passwd is not a block device"),
])  # fmt: skip
def test_refused(device, patterns, reason):
    assert reason in devices.refusal(device, patterns)


@pytest.mark.parametrize(("device", "disk"), [
    ("/dev/sda", "/dev/sda"), ("/dev/sda2", "/dev/sda"), ("/dev/cciss!c0d0p1", "/dev/cciss/c0d0"),
    ("/dev/gone", "/dev/gone"), ("/tmp/node", "/dev/sda"), ("/dev/null", "/dev/null"),
])  # fmt: skip
def test_the_whole_disk(device, disk):
    assert devices.whole_disk(device) == disk


def test_what_is_mounted(monkeypatch, tmp_path):
    lines = [
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw", "23 22 0:5 / /mnt rw,shared:7 - tmpfs none rw",
        "24 23 8:16 / /mnt/a\\040b rw - xfs /dev/sdb rw", "25 24 8:2 / /mnt/a\\040b rw - ext4 /dev/sda2 rw",
        "26 22 8:3 / /mnt2 rw - ext4 /dev/sda3 rw",
    ]  # fmt: skip
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(devices, "MOUNTS", str(tmp_path / "mountinfo"))
    assert devices.mounts("/mnt") == {"/mnt": "none", "/mnt/a b": "/dev/sda2"}
    assert list(devices.mounts("/")) == ["/", "/mnt", "/mnt/a b", "/mnt2"]
    places = ("/mnt/a b", "/", "/mnt", "/elsewhere")
    assert [devices.mounted_at(place) for place in places] == ["/dev/sda2", "/dev/sda1", "", ""]


def test_patterns_of_the_environment():
    assert devices.patterns_of("/dev/a,!/dev/b:c,") == ["/dev/a", "!/dev/b:c"]
    assert devices.patterns_of("") == []
