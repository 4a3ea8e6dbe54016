import pytest

from agent_router.plugin import Failed, Refused
from agent_router.ramdisk import power


@pytest.fixture
def root(tmp_path):
    """The root directory of a ramdisk that is none."""
    for path in ("usr/share/agent-router", "proc"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "usr/share/agent-router/version").write_text("1\n")
    return tmp_path


class Recorder:
    def __init__(self, *failing):
        self.calls, self.failing = [], failing

    def __call__(self, *argv, **more):
        self.calls.append(argv)
        if argv[0] in self.failing:
            raise Failed("tool_failed", f"{argv[0]} ended with 1")
        return ""


@pytest.mark.parametrize("action", ["poweroff", "reboot"])
def test_nothing_is_done_outside_the_ramdisk(tmp_path, action):
    run = Recorder()
    with pytest.raises(Refused, match="not the utility ramdisk") as failed:
        power.down(action, tmp_path, run)
    assert (failed.value.code, run.calls) == ("not_in_ramdisk", [])


@pytest.mark.parametrize("action", ["poweroff", "reboot"])
def test_the_init_that_is_there_is_asked(root, action):
    run = Recorder()
    assert power.down(action, root, run) == {"method": "busybox"}
    assert run.calls == [("sync",), ("busybox", action)]
    (root / "run/systemd/system").mkdir(parents=True)
    run = Recorder()
    assert power.down(action, root, run) == {"method": "systemctl"}
    assert run.calls == [("sync",), ("systemctl", "--no-block", action)]


@pytest.mark.parametrize(("action", "letter"), [("poweroff", "o"), ("reboot", "b")])
def test_the_kernel_is_asked_if_init_fails(root, action, letter):
    assert power.down(action, root, Recorder("busybox")) == {"method": "sysrq"}
    assert (root / "proc/sysrq-trigger").read_text() == letter


def test_a_disk_that_hangs_does_not_keep_the_machine_on(root, monkeypatch):
    warned = []
    monkeypatch.setattr(power.plugin, "warn", warned.append)
    run = Recorder("sync")
    assert power.down("poweroff", root, run) == {"method": "busybox"}
    assert "some data may not" in warned[0]
