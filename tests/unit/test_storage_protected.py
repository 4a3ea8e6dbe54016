import pytest

from agent_router.plugin import Failed
from agent_router.storage import protected
from tests.support.stack import described

LISTED = "it is in the node's properties.skip_block_devices"
NO_METADATA = {"--examine": ""}


@pytest.fixture
def mdadm(monkeypatch):
    """`told[device]`: what mdadm prints about it, by its first option."""
    told = {}

    def tool(name, *argv, ok=(0,)):
        found = told.get(argv[-1], NO_METADATA).get(argv[0])
        if found is None:
            raise Failed("tool_failed", f"mdadm: cannot open {argv[-1]}")
        return found

    monkeypatch.setattr(protected.plugin, "tool", tool)
    monkeypatch.setattr(protected.blockdev, "partitions", lambda name, *_: ["sda1"] if name == "sda" else [])
    return told


def array(name="md127", members=(), links=()):
    return described(name, kind="raid1", members=[f"/dev/{one}" for one in members], links=list(links))


@pytest.mark.parametrize(("links", "detail"), [
    (["/dev/md/data"], None),
    (["/dev/md/node7:data"], None),
    (["/dev/md/data_0"], None),
    (["/dev/md127", "/dev/disk/by-id/md-name-node7:data"], None),
    ([], "MD_LEVEL=raid1\nMD_NAME=node7:data\nMD_DEVNAME=127\n"),
    ([], "MD_METADATA=0.90\nMD_DEVNAME=data\n"),
    ([], "MD_CONTAINER=/dev/md/imsm0\nMD_DEVNAME=data_0\n"),
])  # fmt: skip
def test_an_array_is_found_by_its_name_whatever_links_there_are(mdadm, links, detail):
    mdadm["/dev/md127"] = {"--detail": detail}
    assert protected.reasons([array(links=links)], [{"volume_name": "data"}]) == {"/dev/md127": LISTED}


def test_the_name_in_the_metadata_decides_over_the_links(mdadm):
    mdadm["/dev/md127"] = {"--detail": "MD_NAME=node7:data_0\nMD_DEVNAME=data\n"}
    found = [array(links=["/dev/md/data"])]
    assert protected.reasons(found, [{"volume_name": "data"}]) == {}
    assert protected.reasons(found, [{"volume_name": "node7:data_0"}]) == {"/dev/md127": LISTED}


def test_the_members_of_a_protected_array_are_protected(mdadm):
    mdadm["/dev/md127"] = {"--detail": "MD_NAME=node7:data\n"}
    found = [described("sda", member_of=["/dev/md127"]), described("sdb"), array(members=["sda"])]
    why = protected.reasons(found, [{"volume_name": "data"}])
    assert set(why) == {"/dev/sda", "/dev/md127"}
    assert why["/dev/sda"].startswith("it is a part of /dev/md127; /dev/md127 is in the node's")


def test_an_array_that_does_not_run_is_found_on_its_members(mdadm):
    line = "ARRAY /dev/md/data  metadata=1.2 UUID=1:2:3:4 name=node7:data\n"
    mdadm["/dev/sda1"] = {"--examine": line}
    mdadm["/dev/sdb"] = {"--examine": "ARRAY metadata=imsm UUID=1:2\nARRAY /dev/md/Vol0 container=1:2 member=0\n"}
    found = [described(name) for name in ("sda", "sdb", "sdc")]
    assert set(protected.reasons(found, [{"volume_name": "data"}])) == {"/dev/sda"}
    assert set(protected.reasons(found, [{"volume_name": "Vol0"}])) == {"/dev/sdb"}


def test_without_mdadm_nothing_is_taken_for_unprotected(mdadm):
    mdadm["/dev/sdb"] = {}
    with pytest.raises(Failed):
        protected.reasons([described("sdb")], [{"volume_name": "data"}])


def test_an_array_on_a_protected_disk_is_protected_but_not_its_other_members(mdadm):
    found = [described("sda", serial=["KEEP"]), described("sdb"), array(members=["sda", "sdb"])]
    why = protected.reasons(found, [{"serial": "keep"}])
    assert why["/dev/sda"] == LISTED
    assert why["/dev/md127"].startswith("it is made of /dev/sda; ")
    assert "/dev/sdb" not in why


@pytest.mark.parametrize("name", ["/dev/sda", "/dev/disk/by-id/wwn-0x5000C", "/dev/disk/by-path/pci-1"])
def test_a_disk_may_be_named_by_any_of_its_links(mdadm, name):
    disk = described("sda", links=["/dev/disk/by-id/wwn-0x5000C", "/dev/disk/by-path/pci-1"])
    assert protected.reasons([disk, described("sdb")], [{"name": name}]) == {"/dev/sda": LISTED}


def test_an_entry_that_protects_nothing_is_told(mdadm):
    told = []
    assert protected.reasons([described("sda")], [{"serial": "X"}, {"volume_name": "x"}], told.append) == {}
    assert told == [
        f"{entry} in the node's properties.skip_block_devices is about no disk of this machine"
        for entry in ({"serial": "X"}, {"volume_name": "x"})
    ]
