import pytest

from agent_router.plugin import InvalidRequest, Refused
from agent_router.ramdisk import rescue

HASH = "$6$saltsalt$abcDEF./"


@pytest.fixture
def root(tmp_path):
    """The root directory of a ramdisk that is none, with sudo, ssh and the lean init."""
    for path in ("usr/share/agent-router", "etc/sudoers.d", "etc/ssh", "usr/sbin", "run"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "usr/share/agent-router/version").write_text("1\n")
    (tmp_path / "usr/sbin/sshd").touch()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nsudo:x:27:\n")
    (tmp_path / "etc/inittab").write_text(
        "::respawn:/usr/lib/agent-router/service agent x\n"
        "::respawn:/usr/lib/agent-router/service ssh /usr/lib/agent-router/ssh\n"
    )
    return tmp_path


@pytest.fixture
def warned(monkeypatch):
    texts = []
    monkeypatch.setattr(rescue.plugin, "warn", texts.append)
    return texts


class Recorder:
    def __init__(self):
        self.calls, self.stdin = [], {}

    def __call__(self, *argv, stdin="", **more):
        self.calls.append(argv)
        self.stdin[argv[0]] = stdin
        return HASH + "\n" if argv[0] == "openssl" else ""


def finalize(root, run, password=HASH, hashed=True):
    return rescue.finalize({"rescue_password": password, "hashed": hashed}, root, run)


def test_no_user_is_made_outside_the_ramdisk(tmp_path):
    run = Recorder()
    with pytest.raises(Refused, match="not the utility ramdisk"):
        finalize(tmp_path, run)
    assert run.calls == []


def test_makes_the_user_and_keeps_the_hash_off_the_arguments(root, warned):
    run = Recorder()
    assert finalize(root, run) == {"user": "rescue", "ssh": True}
    assert run.calls[:3] == [
        ("useradd", "--create-home", "--shell", "/bin/bash", "rescue"),
        ("usermod", "--append", "--groups", "sudo", "rescue"), ("chpasswd", "--encrypted"),
    ]  # fmt: skip
    assert run.stdin["chpasswd"] == f"rescue:{HASH}\n"
    assert HASH not in str(run.calls)
    rules = root / "etc/sudoers.d/rescue"
    assert rules.read_text() == "rescue ALL=(ALL) NOPASSWD: ALL\n"
    assert rules.stat().st_mode & 0o777 == 0o440
    assert (root / "etc/.rescued").exists()
    assert warned == []


def test_a_second_call_is_safe(root):
    finalize(root, Recorder())
    (root / "etc/sudoers.d/rescue").chmod(0o640)  # only root writes where nobody may
    with (root / "etc/passwd").open("a") as file:
        file.write("rescue:x:1000:1000::/home/rescue:/bin/bash\n")
    before = (root / "etc/inittab").read_text()
    run = Recorder()
    finalize(root, run)
    assert "useradd" not in [call[0] for call in run.calls]
    assert (root / "etc/inittab").read_text() == before


def test_a_plain_password_is_hashed(root):
    run = Recorder()
    finalize(root, run, "secret word", hashed=False)
    assert run.calls[0] == ("openssl", "passwd", "-6", "-stdin")
    assert run.stdin["openssl"] == "secret word\n"
    assert run.stdin["chpasswd"] == f"rescue:{HASH}\n"


@pytest.mark.parametrize("password", ["plain", "$6$a:b$c", "$6$a\nroot:x$", "", "$6$", "$6 $a$b"])
def test_an_invalid_hash_is_refused_before_anything_is_done(root, password):
    run = Recorder()
    with pytest.raises(InvalidRequest, match="not a crypt"):
        finalize(root, run, password)
    assert run.calls == []


def test_the_lean_init_starts_the_ssh_server(root):
    (root / "run/sshd.pid").write_text("77\n")
    run = Recorder()
    finalize(root, run)
    lines = (root / "etc/inittab").read_text().splitlines()
    assert lines[0].endswith("agent x")
    assert lines[1].startswith("::respawn:/usr/lib/agent-router/service rescue /usr/sbin/sshd -D")
    assert "PasswordAuthentication=yes" in lines[1]
    assert len(lines) == 2
    assert run.calls[-2:] == [("busybox", "kill", "-HUP", "1"), ("busybox", "kill", "77")]


def test_systemd_starts_the_ssh_server(root):
    (root / "run/systemd/system").mkdir(parents=True)
    run = Recorder()
    finalize(root, run)
    assert run.calls[-1][:3] == ("systemd-run", "--quiet", "--unit=agent-router-rescue")
    assert run.calls[-2] == ("systemctl", "stop", "agent-router-ssh.service")


def test_a_ramdisk_without_sudo_and_ssh_says_so(root, warned):
    (root / "etc/sudoers.d").rmdir()
    (root / "usr/sbin/sshd").unlink()
    assert finalize(root, Recorder())["ssh"] is False
    assert "cannot become root" in warned[0]
    assert "no SSH server" in warned[1]
