#!/usr/bin/env python3
"""Boot the ramdisk in a virtual machine with several disks and a BMC, and print its agent's URL; Ctrl-C ends it.

Try the agent without a rack. Disks persist between runs: --from-disk boots a deployed image, --fresh starts with empty
disks.
"""

import argparse
import os
import re
import secrets
import shutil
import ssl
import sys
import time
from pathlib import Path

from machine import HOPELESS, HOST, Machine, missing_parts
from machine_parts import DISKS, Disk, MachineError, make_stick

ROOT = Path(__file__).resolve().parents[2]
RAMDISK = ROOT / ".ramdisk/agent-router"
NAME = "utility-ramdisk"  # the guest's host name, as in its certificate
SIZE = re.compile(r"(?:([A-Z]\w*):)?(\d+)([MG])", re.IGNORECASE)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("make node", description=__doc__, usage="make node ARGS='[OPTION]…'")
    add = made.add_argument
    add("--uefi", action="store_true", help="UEFI firmware instead of BIOS")
    add("--memory", type=int, default=1024, metavar="MIB", help="memory of the machine (1024)")
    add(
        "--disk",
        type=disk,
        action="append",
        metavar="[BUS:]SIZE",
        default=[],
        help="add a disk: 4G, nvme:512M, sata:1G; a sparse file",
    )
    add("--init", choices=["systemd", "lean"], help="init system of the guest")
    add("--append", default="", metavar="WORDS", help="append to the kernel command line")
    add(
        "--initrd",
        type=Path,
        action="append",
        metavar="FILE",
        default=[],
        help="append an archive made by agent-router overlay",
    )
    add("--stick", type=Path, metavar="DIR", help="attach a USB stick with this directory, labelled agent-plugins")
    add("--token", default="", help="token of the agent; random by default")
    add("--console", action="store_true", help="serial console here, with a root shell; Ctrl-A X: power off")
    add("--from-disk", action="store_true", help="boot from the disks instead of the ramdisk")
    add("--fresh", action="store_true", help="discard the disks of earlier runs")
    add("--work", type=Path, default=ROOT / ".ramdisk/node", metavar="DIR", help="directory of disks and console log")
    add(
        "--ramdisk",
        type=Path,
        default=os.environ.get("RAMDISK", RAMDISK),
        metavar="PATH",
        help="use another ramdisk: PATH.kernel, PATH.initramfs",
    )
    return made


def disk(text: str) -> Disk:
    found = SIZE.fullmatch(text)
    bus = (found[1] or "virtio").lower() if found else ""
    if found is None or bus not in ("virtio", "nvme", "sata"):
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 4G, nvme:512M or sata:1G")
    size = int(found[2]) * (1024 if found[3].upper() == "G" else 1)
    return Disk(f"{bus.upper()}-{size}M", size, bus)


def numbered(disks: list[Disk]) -> tuple[Disk, ...]:
    """Give each a serial number."""
    return tuple(Disk(f"{one.serial}-{n}", one.size_mib, one.bus) for n, one in enumerate(disks, 1))


def build(given: argparse.Namespace, token: str) -> Machine:
    for file in given.initrd:
        if not file.is_file():
            raise MachineError(f"{file} does not exist; create the archive with agent-router overlay")
    if given.fresh:
        shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True, exist_ok=True)
    words = [f"ipa-agent-token={token}", given.append]
    words += [f"agent.init={given.init}"] if given.init else []
    words += ["agent.shell"] if given.console else []
    from_ramdisk = not given.from_disk
    return Machine(
        given.work,
        kernel=Path(f"{given.ramdisk}.kernel") if from_ramdisk else None,
        initrds=(Path(f"{given.ramdisk}.initramfs"), *given.initrd),
        append=" ".join(words).strip(),
        uefi=given.uefi,
        memory_mib=given.memory,
        disks=(*DISKS, *numbered(given.disk)),
        sticks=(make_stick(given.work / "stick.img", given.stick),) if given.stick else (),
        terminal=given.console,
    )


def wait_ready(machine: Machine) -> None:
    """Wait, with a progress line if standard error is a terminal."""
    steps = {r"Linux version": "the kernel", r"systemd\[1\]|udevd": "services", r": starting, address": "the agent"}
    said = "firmware"
    end = time.monotonic() + 600
    while machine.running and time.monotonic() < end:
        text = machine.console()
        said = next((word for pattern, word in reversed(steps.items()) if re.search(pattern, text)), said)
        if re.search(rf": ready at|does not start|{HOPELESS}", text):
            break
        if sys.stderr.isatty() and not machine.terminal:
            seconds = time.monotonic() - machine.started
            print(f"\r\x1b[KBooting, {seconds:.0f} s: {said} …", end="", file=sys.stderr, flush=True)
        time.sleep(0.3)
    if sys.stderr.isatty() and not machine.terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    machine.wait_ready(1)


def write_curl_config(machine: Machine, token: str) -> Path:
    """Save certificate, address and token for curl."""
    api = machine.api(token)
    api.get("/v1/status")  # compares the certificate with the fingerprint on the console
    certificate = machine.work / "agent.crt"
    certificate.write_text(ssl.get_server_certificate((api.host, api.port)))
    target = machine.work / "curl.conf"
    target.write_text(
        f'cacert = "{certificate}"\nconnect-to = "{NAME}:{machine.guest_port}:{api.host}:{api.port}"\n'
        f'header = "Authorization: Bearer {token}"\n'
    )
    target.chmod(0o600)
    return target


def tell(machine: Machine, token: str) -> None:
    ready = machine.ready
    assert ready is not None
    config = write_curl_config(machine, token)
    curl = f"curl -K {config} https://{NAME}:{machine.guest_port}"
    disks = ", ".join(f"{one.serial} ({one.bus}, {one.size_mib} MiB)" for one in machine.disks)
    print(
        f"""Ready after {ready.seconds:.0f} s: agent-router {ready.version} at {machine.url}

  token         {token}
  certificate   {machine.work / "agent.crt"}
                SHA-256 {ready.fingerprint}
  disks         {disks}
  console log   {machine.console_log}
  this machine  is {HOST} for the guest; serve images with python3 -m http.server --bind 127.0.0.1

Try it; {config.name} contains certificate, address and token:

  {curl}/v1/methods
  {curl}/v1/methods/hardware.inventory --json '{{}}'
  {curl}/v1/methods/disk.wipe --json '{{"device": "/dev/vda"}}'
""",
        flush=True,
    )


def main() -> int:
    given = parser().parse_args()
    token = given.token or secrets.token_hex(16)
    missing = "" if given.from_disk else missing_parts(Path(given.ramdisk))
    try:
        if missing:
            raise MachineError(missing)
        with build(given, token) as machine:
            if given.from_disk:
                print(f"Booting from the disks; the console log is {machine.console_log}", flush=True)
            else:
                wait_ready(machine)
                tell(machine, token)
            if not given.console:
                print("Ctrl-C powers off the machine.", flush=True)
            while machine.running:
                time.sleep(0.5)
            print("\nThe machine has powered itself off.")
    except MachineError as error:
        print(f"make node: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nPowered off.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
