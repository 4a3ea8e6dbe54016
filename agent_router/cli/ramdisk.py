"""agent-router ramdisk: prepare this machine as the kernel command line says, then serve."""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent_router.cli import serve
from agent_router.core import settings as settings_module
from agent_router.core.settings import Settings, SettingsError
from agent_router.ramdisk import addresses, identity, parameters

CONFIG = "/etc/agent-router/agent-router.toml"
CONSOLE_LINE = "/usr/lib/agent-router/console-line"
ADDRESS_PATIENCE_S = 60.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "agent-router ramdisk",
        description="Prepare this machine as the kernel command line says, then serve. For the utility ramdisk only.",
    )
    made.add_argument("--config", metavar="FILE", default=CONFIG, help=f"settings file, TOML ({CONFIG})")
    return made


def main(argv: list[str]) -> int:
    config = parser().parse_args(argv).config
    try:
        settings = prepare(config, parameters.read())
    except SettingsError as error:
        print(f"agent-router: {error}", file=sys.stderr)
        return 2
    return serve.supervise(settings, console_line)


def prepare(config: str, given: dict[str, str]) -> Settings:
    """The settings of the file, completed by what the boot loader gave and by what this machine makes itself."""
    environ = dict(os.environ)
    if not os.path.exists(config):
        config = ""
    flags: dict[str, Any] = {"insecure": True}  # checked again below, when token and certificate are there
    settings = settings_module.load(flags, environ, config)
    settings.insecure = False
    if settings.host == "::" and not has_ipv6():
        settings.host = "0.0.0.0"  # noqa: S104 (the ramdisk is there to be reached)
    serve.prepare_state(settings.state)
    state = Path(settings.state)
    settings.token = identity.token(given.get("ipa-agent-token") or settings.token, state)
    if not settings.cert:
        found = addresses.wait(ADDRESS_PATIENCE_S)
        settings.cert, settings.key = identity.certificate(found, state, socket.gethostname())
    settings.check()
    return settings


def has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def console_line(settings: Settings) -> None:
    """Tell the people at the console where the agent is; the script does so again when an address changes."""
    state = Path(settings.state)
    (state / "fingerprint").write_text(identity.fingerprint(settings.cert) + "\n")
    (state / "listening").write_text(f"{settings.port} {int(time.time())}\n")
    with contextlib.suppress(OSError):
        subprocess.Popen([CONSOLE_LINE], stdin=subprocess.DEVNULL)
