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
from agent_router.conductor import reach
from agent_router.conductor.plan import Plan, plan_of
from agent_router.core import settings as settings_module
from agent_router.core.settings import Settings, SettingsError
from agent_router.ramdisk import addresses, identity, parameters, virtual_media

CONFIG = "/etc/agent-router/agent-router.toml"
CONSOLE_LINE = "/usr/lib/agent-router/console-line"
ADDRESS_PATIENCE_S = (10.0, 50.0)  # after the first, the console tells what is missing
ROUTE_PATIENCE_S = 30.0
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
        given = virtual_media.parameters(parameters.read(options.cmdline))
        settings = prepare(options.config, given)
    except (SettingsError, identity.IdentityError) as error:
        print(f"agent-router: {error}", file=sys.stderr)
        _call_console_line(f"does not start: {error}")
        return 2
    if settling is not None:
        settling.wait()
    plan = plan_of(given)
    return serve.supervise(settings, announce, None if plan is None else partial(link, plan))


def link(plan: Plan, settings: Settings) -> None:
    """The main function of the process that talks with Ironic."""
    from agent_router.conductor import inspection
    from agent_router.conductor.bridge import translate
    from agent_router.conductor.ironic import Ironic
    from agent_router.conductor.link import Link
    from agent_router.core.dispatch import Dispatcher

    def say(text: str) -> None:
        print(text, flush=True)

    def inspect(ironic: Ironic, url: str) -> bool:
        methods = inspection.chosen(plan.collectors)
        data = inspection.collect(methods, inspection.caller(Dispatcher(settings, translate=translate)))
        return inspection.post(ironic, url, data, say)

    Link(settings.state, settings.port, settings.cert, plan, inspect, say).run()


def begin_settling() -> subprocess.Popen[bytes] | None:
    """Wait, beside everything else, until the kernel's first devices are there: who asks first must see all disks."""
    try:
        return subprocess.Popen(["udevadm", "settle", f"--timeout={SETTLE_PATIENCE_S}"], stdin=subprocess.DEVNULL)
    except OSError:
        return None  # no udev here: there is nothing to wait for


def prepare(config: str, given: dict[str, str]) -> Settings:
    """The settings of the file, completed by what the boot loader gave and by what this machine makes itself."""
    environ = dict(os.environ)
    if not os.path.exists(config):
        config = ""
    flags: dict[str, Any] = {"insecure": True}  # checked again below, when token and certificate are there
    settings = settings_module.load(flags, environ, config)
    settings.insecure = False
    if settings.host == "::" and not has_ipv6():
        settings.host = "0.0.0.0"
    serve.prepare_state(settings.state)
    state = Path(settings.state)
    settings.token = identity.token(given.get("ipa-agent-token") or settings.token, state)
    settings.token_file = str(state / "token")  # a lookup brings Ironic's own
    if not settings.cert:
        names = dict.fromkeys([*_wait_for_address(), *_wait_for_route(plan_of(given))])
        settings.cert, settings.key = identity.certificate(names, state / "tls", socket.gethostname())
    settings.check()
    return settings


def called_by(plan: Plan | None) -> list[str]:
    """The names by which Ironic will call this agent: its certificate must have them."""
    if plan is None:
        return []
    found = [plan.advertise] if plan.advertise else []
    for url in plan.api_urls:
        with contextlib.suppress(OSError):
            found.append(reach.source_address(url))
    return found


def _wait_for_address() -> list[str]:
    soon, late = ADDRESS_PATIENCE_S
    found = addresses.wait(soon)
    if not found:
        _call_console_line()
        found = addresses.wait(late)
    return found


def _wait_for_route(plan: Plan | None) -> list[str]:
    """The interface that leads to Ironic may be the last one to get its address."""
    give_up = time.monotonic() + ROUTE_PATIENCE_S
    while not (found := called_by(plan)) and plan is not None and plan.api_urls and time.monotonic() < give_up:
        time.sleep(addresses.INTERVAL_S)
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
    (state / "fingerprint").write_text(identity.fingerprint(settings.cert) + "\n")
    (state / "listening").write_text(f"{settings.port} {int(time.time())}\n")
    _call_console_line()


def _call_console_line(*arguments: str) -> None:
    with contextlib.suppress(OSError):  # no ramdisk of ours: nobody waits for that line
        subprocess.run([CONSOLE_LINE, *arguments], stdin=subprocess.DEVNULL, check=False)
