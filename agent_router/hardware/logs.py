"""Collect what helps to understand a failure into one archive, even on a broken machine.

Collectors are independent: each has a time limit, and if it fails, NAME.error in the archive says why. They run in
parallel, because the conductor is waiting.
"""

import base64
import concurrent.futures
import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from agent_router import plugin
from agent_router.plugin.masking import mask

LIMIT_S = 10
MIB = 1 << 20
# Of one file, uncompressed: more would cost memory, and no one reads it.
RAW_LIMIT = 32 * MIB
COLLECTORS = {
    "journal": ["journalctl", "--no-pager", "--boot", "--output=short-precise", "--lines=100000"],
    "dmesg": ["dmesg"],
    "ps": ["ps", "-ef", "--forest"],
    "lsblk": ["lsblk", "--all", "--output-all", "--json"],
    "ip_addr": ["ip", "addr"],
    "ip_route": ["ip", "route", "show", "table", "all"],
    "mount": ["mount"],
    "df": ["df", "-a", "-T"],
}
Files = dict[str, bytes]


def collect(request: dict[str, Any]) -> dict[str, Any]:
    """{"system_logs": base64 of a tar.gz}, of at most `max_mib` MiB before base64."""
    files: Files = {}
    with concurrent.futures.ThreadPoolExecutor(len(COLLECTORS)) as pool:
        for result in pool.map(_run, COLLECTORS, COLLECTORS.values()):
            files |= result
    state = os.environ.get("AGENT_STATE_DIR", "")
    files = without_token(files | agent_logs(state), state)
    archive, cut = fit(files, int(request.get("max_mib", 8) * MIB))
    for name in cut:
        plugin.warn(f"the oldest part of {name} was removed to keep the archive small")
    return {"system_logs": base64.b64encode(archive).decode()}


def _run(name: str, argv: list[str]) -> Files:
    out, err = Path(f"{name}.out"), Path(f"{name}.err")
    try:
        # Into files, to keep all that a tool printed before its time was up.
        with out.open("wb") as stdout, err.open("wb") as stderr:
            status = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, timeout=LIMIT_S, check=False
            ).returncode
        trouble = f"exit status {status}\n{tail(err).decode(errors='replace')}" if status else ""
    except subprocess.TimeoutExpired:
        trouble = f"did not finish within {LIMIT_S} s\n"
    except OSError as error:
        trouble = f"{argv[0]}: {error.strerror}\n"
    files = {name: tail(out)} if out.exists() and out.stat().st_size else {}
    if trouble:
        files[f"{name}.error"] = trouble.encode()
    out.unlink(missing_ok=True)
    err.unlink(missing_ok=True)
    return files


def tail(path: Path, limit: int = RAW_LIMIT) -> bytes:
    """The last `limit` bytes of a file."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


def agent_logs(state: str) -> Files:
    """The logs of the agent and its commands; not requests and answers, which may contain secrets."""
    files: Files = {}
    if not state:
        return files
    for path in sorted(Path(state).rglob("*")):
        try:
            if path.is_file() and not path.is_symlink() and (path.name == "log" or path.suffix == ".log"):
                data = hide(tail(path, MIB), path.parent / "secrets")
                files[f"agent/{path.relative_to(state)}"] = data
        except OSError as error:
            files[f"agent/{path.relative_to(state)}.error"] = f"{error.strerror}\n".encode()
    return files


def hide(data: bytes, secrets: Path) -> bytes:
    """Mask what a request marked as secret; the list is stored beside the log of the command.

    If the list cannot be read, the whole log is left out: better no log than a password in an archive.
    """
    if not secrets.exists():
        return data
    try:
        values = json.loads(secrets.read_text())
    except (OSError, ValueError):
        return b"not shown: it may contain secrets, and the list of them is not readable\n"
    hidden = sorted(filter(None, values), key=len, reverse=True)  # one may contain another
    return mask(data.decode(errors="surrogateescape"), hidden).encode(errors="surrogateescape")


def without_token(files: Files, state: str) -> Files:
    """Mask the token, which may be on the kernel command line and so in the kernel's log."""
    try:
        token = Path(state, "token").read_bytes().strip()
    except OSError:
        return files
    return {name: data.replace(token, b"***") for name, data in files.items()} if token else files


def fit(files: Files, limit: int) -> tuple[bytes, list[str]]:
    """(archive, names of truncated files): drops the first half of the largest file until the archive fits."""
    files, cut = dict(files), []
    while len(archive := pack(files)) > limit:
        largest = max(files, key=lambda name: len(files[name]))
        data = files[largest]
        if len(data) < 1024:
            raise plugin.Failed("too_large", f"the logs do not fit in {limit} bytes")
        # Cut at a line start. What still compresses too little is halved again.
        files[largest] = data[data.find(b"\n", len(data) // 2) + 1 or len(data) // 2 :]
        if largest not in cut:
            cut.append(largest)
    return archive, cut


def pack(files: Files) -> bytes:
    """A tar.gz of the files, readable by root only."""
    buffer = io.BytesIO()
    # Level 3: a fifth larger than 9 but four times as fast, and the conductor is waiting.
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=3) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
