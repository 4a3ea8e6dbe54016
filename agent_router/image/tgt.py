"""tgtd, the iSCSI target in user space (tgt), for one disk: a daemon of its own that ends with this process."""

import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from agent_router import plugin

READY_S = 10.0
END_S = 3.0
POLL_S = 0.05
TARGET = ("--lld", "iscsi", "--mode", "target", "--tid", 1)
LUN = 1  # 0 is the controller of every target of tgt
# struct tgtadm_req and tgtadm_rsp of tgt 1.0.25 (2012) and newer, usr/tgtadm.h.
_REQUEST = struct.Struct("=II64sIiQQ6I")
_RESPONSE = struct.Struct("=II")
_MODE_ACCOUNT, _OP_NEW = 7, 0


class Tgt:
    """start(), offer(), then allow(); close() in every case. tgtd is reached by a socket in a directory of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._place = tempfile.mkdtemp(prefix="tgt-", dir=".")
        # A relative path: that of a socket may have 107 bytes.
        self._socket = f"./{os.path.basename(self._place)}/socket"

    def start(self, address: str, port: int) -> None:
        """Listen; raises Failed("port_in_use") if it cannot be there."""
        os.environ["TGT_IPC_SOCKET"] = self._socket  # of tgtd and tgtadm
        host = f"[{address}]" if ":" in address else address
        # setpriv: a disk must not stay open to the network if this process is killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "tgtd", "--foreground", "--iscsi", f"portal={host}:{port}"]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=2)
        self._wait()
        found = self.portals()
        # tgtd listens on port 3260 of all addresses, if it cannot where it was told to.
        if found != [f"{host}:{port}"]:
            message = f"tgtd cannot listen on {host}:{port}: it is in use or not an address of this machine"
            raise plugin.Failed("port_in_use", message)

    def offer(self, iqn: str, device: str, block_size: int, read_only: bool) -> None:
        """Make the target with one disk in it. Nobody is let in yet."""
        plugin.tool("tgtadm", "--op", "new", *TARGET, "--targetname", iqn)
        lun = ("--lld", "iscsi", "--mode", "logicalunit", "--tid", 1, "--lun", LUN)
        plugin.tool("tgtadm", "--op", "new", *lun, "--backing-store", device, "--blocksize", block_size)
        if read_only:
            plugin.tool("tgtadm", "--op", "update", *lun, "--params", "readonly=1")

    def demand(self, user: str, password: str) -> None:
        """CHAP. Not by tgtadm, which takes the password as an argument, where everybody can read it."""
        text = f"user={user},password={password}".encode() + b"\0"
        request = _REQUEST.pack(_MODE_ACCOUNT, _OP_NEW, b"iscsi", _REQUEST.size + len(text), -1, 0, 0, *[0] * 6)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(READY_S)
            connection.connect(f"{self._socket}.0")
            connection.sendall(request + text)
            status, _ = _RESPONSE.unpack(connection.recv(_RESPONSE.size, socket.MSG_WAITALL))
        if status != 0:
            raise plugin.Failed("tool_failed", f"tgtd refused the CHAP user, error {status}")
        plugin.tool("tgtadm", "--lld", "iscsi", "--mode", "account", "--op", "bind", "--tid", 1, "--user", user)

    def allow(self, initiator: str) -> None:
        plugin.tool("tgtadm", "--op", "bind", *TARGET, "--initiator-address", initiator)

    def portals(self) -> list[str]:
        shown = plugin.tool("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "portal")
        return re.findall(r"^Portal: (\S+),\d+$", shown, re.MULTILINE)

    def initiators(self) -> list[str]:
        """The addresses that are logged in; raises Failed("target_died") if tgtd is gone."""
        if self._process is None or self._process.poll() is not None:
            raise plugin.Failed("target_died", "tgtd has ended by itself; the log says why")
        shown = plugin.tool("tgtadm", "--lld", "iscsi", "--op", "show", "--mode", "target")
        return sorted(set(re.findall(r"^\s*IP Address: (\S+)$", shown, re.MULTILINE)))

    def close(self) -> None:
        """Nobody reads or writes the disk any more when this returns."""
        process, self._process = self._process, None
        if process is not None:
            # tgtd ignores SIGTERM while it has a target, and loses nothing by SIGKILL: all is with the kernel.
            process.kill()
            process.wait(END_S)
        shutil.rmtree(self._place, ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as connection:
                if connection.connect_ex(f"{self._socket}.0") == 0:
                    return
            time.sleep(POLL_S)
        raise plugin.Failed("target_died", "tgtd did not start; the log says why")
