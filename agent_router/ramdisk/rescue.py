"""Ironic's rescue: create a user `rescue` with the password whose hash Ironic sent, and let it in by SSH.

`run` and `root` have no defaults on purpose: a test cannot forget to pass its own.
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.ramdisk.marker import refuse_elsewhere

RunTool = Callable[..., str]
USER = "rescue"
# crypt(5): $id$salt$hash; nothing that could end a field or line of /etc/shadow.
HASH = re.compile(r"\$[0-9a-z]{1,4}\$[^:\s\\]{1,300}")
ADMIN_GROUPS = ("sudo", "wheel")
SSHD = [
    "/usr/sbin/sshd", "-D", "-e", "-o", "HostKey=/etc/ssh/ssh_host_ed25519_key", "-o", "PasswordAuthentication=yes",
    "-o", "PermitRootLogin=no", "-o", "UsePAM=no", "-o", f"AllowUsers={USER}",
]  # fmt: skip
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


def finalize(request: dict[str, Any], root: Path, run: RunTool) -> dict[str, Any]:
    """Handler of rescue.finalize_rescue."""
    refuse_elsewhere(root)
    password = request["rescue_password"]
    if not request.get("hashed", False):
        password = run("openssl", "passwd", "-6", "-stdin", stdin=password + "\n").strip()
    if not HASH.fullmatch(password):
        raise plugin.InvalidRequest("bad_hash", "rescue_password is not a crypt(5) hash ($6$salt$hash)")
    _make_user(password, root, run)
    (root / "etc/.rescued").touch()
    return {"user": USER, "ssh": _start_ssh(root, run)}


def _make_user(password: str, root: Path, run: RunTool) -> None:
    if not any(line.startswith(f"{USER}:") for line in _lines(root / "etc/passwd")):
        run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    for group in ADMIN_GROUPS:
        if any(line.startswith(f"{group}:") for line in _lines(root / "etc/group")):
            run("usermod", "--append", "--groups", group, USER)
    # On standard input: any user can see arguments.
    run("chpasswd", "--encrypted", stdin=f"{USER}:{password}\n")
    rules = root / "etc/sudoers.d"
    if rules.is_dir():
        place = rules / USER
        place.write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        place.chmod(0o440)
    else:
        plugin.warn(f"this ramdisk has no sudo: the user {USER} cannot become root")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _start_ssh(root: Path, run: RunTool) -> bool:
    """True if an SSH server that accepts passwords was started. Not as a child: the agent would kill it."""
    if not (root / SSHD[0].lstrip("/")).exists():
        plugin.warn("this ramdisk has no SSH server: the user can only log in on the console")
        return False
    (root / "run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    (root / "run/sshd").chmod(0o755)
    if not (root / HOST_KEY).exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/{HOST_KEY}")
    if (root / "run/systemd/system").is_dir():
        run("systemctl", "stop", "agent-router-ssh.service", ok=(0, 5))  # 5: there is no such unit
        run("systemd-run", "--quiet", "--unit=agent-router-rescue", *SSHD)
        return True
    inittab = root / "etc/inittab"
    line = f"::respawn:/usr/lib/agent-router/service rescue {' '.join(SSHD)}"
    kept = [one for one in _lines(inittab) if not one.endswith(("/usr/lib/agent-router/ssh", SSHD[-1]))]
    inittab.write_text("\n".join([*kept, line]) + "\n")
    run("busybox", "kill", "-HUP", "1")  # init reads its table again
    pid = root / "run/sshd.pid"
    if pid.exists():  # the key-only server holds the port
        with contextlib.suppress(plugin.Failed):
            run("busybox", "kill", pid.read_text().strip())
    return True
