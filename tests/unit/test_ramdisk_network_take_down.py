import pytest

from agent_router.ramdisk.network import take_down


@pytest.fixture
def root(tmp_path):
    for name in ("lo", "eth1", "eth0", "bond0"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
    (tmp_path / "sys/class/net/bonding_masters").write_text("bond0\n")
    (tmp_path / "usr/share/agent-router").mkdir(parents=True)
    (tmp_path / "usr/share/agent-router/version").touch()
    return tmp_path


def test_every_interface_but_loopback(root):
    calls = []
    take_down.take_down(root, calls.append)
    assert calls == [["ip", "link", "set", "dev", name, "down"] for name in ("bond0", "eth0", "eth1")]


def test_no_other_machine_loses_its_network(root):
    (root / "usr/share/agent-router/version").unlink()
    take_down.take_down(root, lambda argv: pytest.fail(f"{argv} was called"))
