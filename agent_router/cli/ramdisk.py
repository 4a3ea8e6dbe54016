"""agent-router ramdisk: prepare this machine as the kernel command line says, then serve."""

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
from agent_router.conductor import names
from agent_router.conductor.memory import Memory
from agent_router.conductor.plan import Plan, number, plan_of
from agent_router.config import settings as settings_module
from agent_router.config.settings import Settings, SettingsError
from agent_router.linux import files
from agent_router.ramdisk import addresses, identity, network_down, parameters, virtual_media

CONFIG = "/etc/agent-router/agent-router.toml"
CONSOLE_LINE = "/usr/lib/agent-router/console-line"
ADDRESS_PATIENCE_S = (10.0, 50.0)  # after the first, the console tells what is missing
SETTLE_PATIENCE_S = 60


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "agent-router ramdisk",
        description="Prepare this machine as the kernel command line says, then serve. For the utility ramdisk only.",
    )
    made.add_argument("--config", metavar="FILE", default=CONFIG, help=f"settings file, TOML ({CONFIG})")
    made.add_argument("--cmdline", metavar="FILE", type=Path, default=parameters.CMDLINE, help="kernel command line")
    return made


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    settling = begin_settling()
    try:
        serve.rest_if_closed(load(options.config).state, rested)
        given = virtual_media.parameters(parameters.read(options.cmdline))
        plan = plan_of(given)
        settings = prepare(options.config, given)
    except (SettingsError, identity.IdentityError) as error:
        print(f"agent-router: {error}", file=sys.stderr)
        _call_console_line(f"does not start: {error}")
        return 2
    if settling is not None:
        settling.wait()
    return serve.supervise(settings, announce, None if plan is None else partial(link, plan), rested)


def rested(found: Closed) -> None:
    """A plugin has ended the serving; what its manifest wants besides."""
    _call_console_line()
    if found.what == "network":
        network_down.take_down(Path("/"), lambda argv: subprocess.run(argv, stdin=subprocess.DEVNULL, check=False))


def link(plan: Plan, settings: Settings) -> None:
    """The main function of the process that talks with Ironic."""
    from agent_router.commands.dispatch import Dispatcher
    from agent_router.conductor import dhcp, inspection
    from agent_router.conductor.bridge import translate
    from agent_router.conductor.ironic import Ironic
    from agent_router.conductor.link import Link

    def say(text: str) -> None:
        print(text, flush=True)

    def inspect(ironic: Ironic) -> bool:
        dhcp.wait(plan, say)
        methods = inspection.chosen(plan.collectors)
        data = inspection.collect(methods, inspection.caller(Dispatcher(settings, translate=translate)))
        return inspection.post(ironic, plan.inspection_urls, data, say)

    Link(settings.state, settings.port, settings.cert, plan, inspect, say).run()


def begin_settling() -> subprocess.Popen[bytes] | None:
    """Wait, beside everything else, until the kernel's first devices are there: who asks first must see all disks."""
    try:
        return subprocess.Popen(["udevadm", "settle", f"--timeout={SETTLE_PATIENCE_S}"], stdin=subprocess.DEVNULL)
    except OSError:
        return None  # no udev here: there is nothing to wait for


def load(config: str) -> Settings:
    """The settings of the file, if there is one, and of the environment."""
    flags: dict[str, Any] = {"insecure": True}  # checked by prepare, when token and certificate are there
    settings = settings_module.load(flags, dict(os.environ), config if os.path.exists(config) else "")
    settings.insecure = False
    return settings


def prepare(config: str, given: dict[str, str]) -> Settings:
    """The settings of the file, completed by what the boot loader gave and by what this machine makes itself."""
    settings = load(config)
    settings.host = given.get("ipa-listen-host", "").strip("[]") or settings.host
    settings.port = number(given, "ipa-listen-port", settings.port)
    if settings.host == "::" and not has_ipv6():
        settings.host = "0.0.0.0"
    serve.prepare_state(settings.state)
    state = Path(settings.state)
    # Before a restart a lookup may have brought another one than the boot loader.
    held = Memory(settings.state).token
    settings.token = identity.token(held or given.get("ipa-agent-token") or settings.token, state)
    settings.token_file = str(state / "token")  # a lookup brings Ironic's own
    if not settings.cert:
        found = [] if identity.has_certificate(state / "tls") else _wait_for_names(plan_of(given))
        settings.cert, settings.key = identity.certificate(found, state / "tls", socket.gethostname())
    settings.check()
    return settings


def _wait_for_names(plan: Plan | None) -> list[str]:
    return _wait_for_address() if plan is None else names.wait(plan, _tell_console)


def _wait_for_address() -> list[str]:
    soon, late = ADDRESS_PATIENCE_S
    found = addresses.wait(soon)
    if not found:
        _call_console_line()
        found = addresses.wait(late)
    return found


def has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def announce(settings: Settings) -> None:
    """Tell the people at the console where the agent is; the script does so again when an address changes."""
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
    with contextlib.suppress(OSError):  # no ramdisk of ours: nobody waits for that line
        subprocess.run([CONSOLE_LINE, *arguments], stdin=subprocess.DEVNULL, check=False)
