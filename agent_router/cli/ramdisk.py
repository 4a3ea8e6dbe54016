"""agent-router ramdisk: prepare this machine as the kernel command line says, then serve the API."""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from agent_router.cli import serve
from agent_router.commands.end_of_service import Closed
from agent_router.conductor import certificate_names
from agent_router.conductor.boot_parameters import BootParameters, boot_parameters, number
from agent_router.conductor.state import ConductorState
from agent_router.config.settings import Settings, SettingsError, load
from agent_router.linux import files
from agent_router.ramdisk import identity, kernel_parameters, virtual_media
from agent_router.ramdisk.network import global_addresses
from agent_router.ramdisk.network.take_down import take_down

CONFIG = "/etc/agent-router/agent-router.toml"
CONSOLE_LINE = "/usr/lib/agent-router/console-line"
NETWORK = "/usr/lib/agent-router/network"
ADDRESS_PATIENCE_S = (10.0, 50.0)  # after the first, the console says what is missing
SETTLE_PATIENCE_S = 60


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "agent-router ramdisk",
        description="Prepare this machine as the kernel command line says, then serve the API. Only for the ramdisk.",
    )
    made.add_argument("--config", metavar="FILE", default=CONFIG, help=f"settings file, TOML ({CONFIG})")
    made.add_argument(
        "--cmdline", metavar="FILE", type=Path, default=kernel_parameters.CMDLINE, help="kernel command line"
    )
    return made


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    settling = begin_settling()
    try:
        serve.rest_if_closed(settings_of(options.config).state, at_rest)
        given = virtual_media.parameters(kernel_parameters.read(options.cmdline))
        parameters = boot_parameters(given)
        settings = prepare(options.config, given)
    except (SettingsError, identity.IdentityError) as error:
        print(f"agent-router: {error}", file=sys.stderr)
        _call_console_line(f"does not start: {error}")
        return 2
    if settling is not None:
        settling.wait()
    return serve.supervise(settings, announce, None if parameters is None else partial(heartbeat, parameters), at_rest)


def at_rest(found: Closed) -> None:
    """A plugin has stopped the agent; do what its manifest asks for besides."""
    _call_console_line()
    if found.what == "network":
        take_down(Path("/"), lambda argv: subprocess.run(argv, stdin=subprocess.DEVNULL, check=False))
    else:
        # After a rescue Ironic moves the machine to its tenant's network, where the lease it has is of no use.
        with contextlib.suppress(OSError):
            subprocess.Popen([NETWORK, "again"], stdin=subprocess.DEVNULL, start_new_session=True)


def heartbeat(parameters: BootParameters, settings: Settings) -> None:
    """The main function of the process that talks to Ironic."""
    from agent_router.commands.dispatch import Dispatcher
    from agent_router.conductor import dhcp, inspection
    from agent_router.conductor.bridge import translate
    from agent_router.conductor.heartbeat import Heartbeat
    from agent_router.conductor.ironic import Ironic

    def say(text: str) -> None:
        print(text, flush=True)

    def inspect(ironic: Ironic) -> bool:
        dhcp.wait(parameters, say)
        methods = inspection.chosen(parameters.collectors)
        data = inspection.collect(methods, inspection.caller(Dispatcher(settings, translate=translate)))
        return inspection.post(ironic, parameters.inspection_urls, data, say)

    Heartbeat(settings.state, settings.port, settings.cert, parameters, inspect, say).run()


def begin_settling() -> subprocess.Popen[bytes] | None:
    """Start waiting for the initial devices, in parallel with the rest: the first client must see all disks."""
    try:
        return subprocess.Popen(["udevadm", "settle", f"--timeout={SETTLE_PATIENCE_S}"], stdin=subprocess.DEVNULL)
    except OSError:
        return None  # no udev, nothing to wait for


def settings_of(config: str) -> Settings:
    """The settings from the file, if it exists, and from the environment."""
    flags: dict[str, Any] = {"insecure": True}  # prepare() checks them, once token and certificate are there
    settings = load(flags, dict(os.environ), config if os.path.exists(config) else "")
    settings.insecure = False
    return settings


def prepare(config: str, given: dict[str, str]) -> Settings:
    """The settings of the file, completed by the kernel parameters and by what this machine generates."""
    settings = settings_of(config)
    settings.host = given.get("ipa-listen-host", "").strip("[]") or settings.host
    settings.port = number(given, "ipa-listen-port", settings.port)
    if settings.host == "::" and not has_ipv6():
        settings.host = "0.0.0.0"
    serve.prepare_state(settings.state)
    state = Path(settings.state)
    # After a restart, the token of an earlier lookup takes precedence over the boot loader's.
    held = ConductorState(settings.state).token
    settings.token = identity.token(held or given.get("ipa-agent-token") or settings.token, state)
    settings.token_file = str(state / "token")  # a lookup writes Ironic's token there
    if not settings.cert:
        found = [] if identity.has_certificate(state / "tls") else _wait_for_names(boot_parameters(given))
        settings.cert, settings.key = identity.certificate(found, state / "tls", socket.gethostname())
    settings.check()
    return settings


def _wait_for_names(parameters: BootParameters | None) -> list[str]:
    return _wait_for_address() if parameters is None else certificate_names.wait(parameters, _tell_console)


def _wait_for_address() -> list[str]:
    soon, late = ADDRESS_PATIENCE_S
    found = global_addresses.wait(soon)
    if not found:
        _call_console_line()
        found = global_addresses.wait(late)
    return found


def has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def announce(settings: Settings) -> None:
    """Show on the console where the agent is; the script does so again when an address changes."""
    state = Path(settings.state)
    files.replace(state / "fingerprint", identity.fingerprint(settings.cert) + "\n")
    files.replace(state / "listening", f"{settings.port} {int(time.time())}\n")
    _call_console_line()


def _tell_console(sentence: str) -> None:
    if sentence:
        print(f"agent-router: {sentence}", flush=True)
        _call_console_line(sentence)
    else:
        _call_console_line()


def _call_console_line(*arguments: str) -> None:
    with contextlib.suppress(OSError):  # not in the ramdisk: there is no such script
        subprocess.run([CONSOLE_LINE, *arguments], stdin=subprocess.DEVNULL, check=False)
