"""Parts of the image benchmark: an image in all formats, a web server, a loop disk, one measured run."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import meters

MIB = 1 << 20
SECTOR = 512
SAMPLE_S = 0.02
# A GPT as in cloud images: BIOS boot, ESP, and a mostly empty root.
FIRST_ROOT_SECTOR = 135168
NGINX = """
daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ }}
http {{
  access_log off; sendfile on; root {work}/www; client_body_temp_path {work}/t; proxy_temp_path {work}/t;
  fastcgi_temp_path {work}/t; uwsgi_temp_path {work}/t; scgi_temp_path {work}/t;
  server {{ listen 127.0.0.1:{port}; }}
}}
"""


@dataclass
class Form:
    """One published file."""

    path: Path
    url: str
    sha256: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def run(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True, stdin=subprocess.DEVNULL)


def make_raw(path: Path, size_mib: int, data_mib: int) -> None:
    """A disk image whose root file system contains `data_mib` of this machine's programs and libraries."""
    tree = path.with_name("tree")
    tree.mkdir()
    gather(tree, data_mib * MIB)
    with path.open("wb") as file:
        file.truncate(size_mib * MIB)
    bios_boot = "21686148-6449-6E6F-744E-656564454649"
    parts = f"label: gpt\nsize=1MiB,type={bios_boot}\nsize=64MiB,type=U\nstart={FIRST_ROOT_SECTOR}\n"
    subprocess.run(["sfdisk", "--quiet", str(path)], input=parts, text=True, check=True)
    root = path.with_name("root")
    with root.open("wb") as file:
        file.truncate((size_mib - 2) * MIB - FIRST_ROOT_SECTOR * SECTOR)
    run("mkfs.ext4", "-q", "-d", tree, root)
    run("dd", f"if={root}", f"of={path}", "bs=1M", f"seek={FIRST_ROOT_SECTOR * SECTOR}", "oflag=seek_bytes",
        "conv=notrunc,sparse", "status=none")  # fmt: skip
    root.unlink()
    shutil.rmtree(tree)


def gather(tree: Path, limit: int) -> None:
    """Copy files from /usr in order of name, so that every run has the same content."""
    total = 0
    for folder, folders, names in os.walk("/usr/lib"):
        folders.sort()
        into = tree / folder[1:]
        for name in sorted(names):
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file():
                continue
            into.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, into / name)
            total += source.stat().st_size
            if total >= limit:
                return


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Site:
    """nginx on loopback with the image in every format; `forms` by name."""

    def __init__(self, work: Path, port: int, size_mib: int, data_mib: int) -> None:
        self.work, self.port = work, port
        (work / "www").mkdir()
        raw = work / "www/disk.raw"
        make_raw(raw, size_mib, data_mib)
        www = work / "www"
        run("zstd", "-q", "-T2", "-10", raw, "-o", www / "disk.raw.zst")
        run("sh", "-c", f"gzip -6 -c {raw} > {www}/disk.raw.gz")
        for name, more in (("disk.qcow2", []), ("disk-zstd.qcow2", ["-c", "-o", "compression_type=zstd"])):
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *more, raw, www / name)
        if shutil.which("bmaptool"):
            run("bmaptool", "--quiet", "create", "-o", www / "disk.raw.bmap", raw)
        url = f"http://127.0.0.1:{port}"
        if importlib.util.find_spec("libtorrent"):
            # With the web server as the only seed.
            argv = [sys.executable, "-m", "agent_router", "seed", raw, www / "disk.raw.zst", "--only-make"]
            subprocess.run([*argv, "--advertise", url, "-o", www], check=True, stdout=subprocess.DEVNULL)
        self.forms = {path.name: Form(path, f"{url}/{path.name}", sha256(path)) for path in www.iterdir()}
        (work / "nginx.conf").write_text(NGINX.format(work=work, port=port))
        self.server = subprocess.Popen(["nginx", "-c", str(work / "nginx.conf"), "-e", str(work / "nginx.log")])

    @property
    def raw(self) -> Form:
        return self.forms["disk.raw"]

    def stop(self) -> None:
        self.server.terminate()
        self.server.wait()


@contextlib.contextmanager
def loop_disk(backing: Path, size_mib: int) -> Iterator[str]:
    """A blank loop disk, because some peers skip zeros without writing them."""
    with backing.open("wb") as file:
        file.truncate(size_mib * MIB)
    done = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=True)
    device = done.stdout.strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)
        backing.unlink()


@dataclass
class Run:
    """One measured run; `good`: the disk matches the image."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    pss_mib: float = 0.0
    stored_mib: float = 0.0  # stored on the disk, not counting zeros that it created itself
    staged_mib: float = 0.0
    good: bool = False
    says: str = ""
    extra: dict[str, object] = field(default_factory=dict)


def stored(device: str) -> int:
    """Bytes allocated to the file behind a loop disk."""
    backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file").read_text().strip()
    return os.stat(backing).st_blocks * 512


def measure(
    argv: list[str],
    device: str,
    new_meter: Callable[[], meters.Meter],
    work: Path,
    env: dict[str, str] | None = None,
    stdin: str = "",
    limit_s: float = 40,
) -> Run:
    """Run one peer to its end, sampling its memory and the files staged in its working directory."""
    meter, place = new_meter(), work / "cwd"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (work / "stdin").write_text(stdin)
    begun = time.monotonic()
    with (work / "stdin").open() as given, (work / "says").open("w") as says:
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=says,
            stderr=says,
            cwd=place,
            env={**os.environ, **(env or {})},
            preexec_fn=meter.enter,
            start_new_session=True,
        )
        meter.root = process.pid
        peak = [0, 0]
        over = threading.Event()
        sampler = threading.Thread(target=sample, args=(meter, process.pid, place, peak, over), daemon=True)
        sampler.start()
        try:
            process.wait(limit_s)
            run("blockdev", "--flushbufs", device)
        except subprocess.TimeoutExpired:
            says.write(f"not done after {limit_s:g} s")
        finally:
            over.set()
            sampler.join()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    wall = time.monotonic() - begun
    done = Run(wall, meter.seconds(), peak[0] / 1024, stored(device) / MIB, peak[1] / MIB)
    meter.close()
    done.good = process.returncode == 0
    done.says = (work / "says").read_text()[-2000:]
    return done


def sample(meter: meters.Meter, pid: int, place: Path, peak: list[int], over: threading.Event) -> None:
    while not over.wait(SAMPLE_S):
        peak[0] = max(peak[0], meters.pss_kib(meter.pids(pid)))
        peak[1] = max(peak[1], meters.tmpfs_bytes(place))


def same(device: str, raw: Form) -> bool:
    """Whether the disk matches the image, by cmp; without both ends, because IPA moves the backup GPT."""
    span = [f"--ignore-initial={MIB}", f"--bytes={raw.size - 2 * MIB}"]
    return subprocess.run(["cmp", "--quiet", *span, str(raw.path), device], check=False).returncode == 0
