"""agent-router serve: read the settings, then become the supervisor of runner and front."""

import argparse
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from agent_router.commands import end_of_service
from agent_router.commands.end_of_service import Closed
from agent_router.config.settings import Settings, SettingsError, load, token_warning

BACKLOG = 2048
AtRest = Callable[[Closed], None]
PORT_PATIENCE_S = 4.0  # the front of a killed agent releases the port a moment later

EPILOG = """Each option is also an environment variable (AGENT_ROUTER_PORT, …; lists separated by commas) and a
key of the settings file (host, port, token, token_file, cert, key, plugins, schemas, bundled, state, devices, insecure,
max_request_mib, history, notices). The command line wins, then the environment, then the file."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "agent-router serve", description="Serve the REST API.", epilog=EPILOG, argument_default=argparse.SUPPRESS
    )
    made.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    made.add_argument("--host", help="address to listen on (127.0.0.1)")
    made.add_argument("--port", type=int, help="port to listen on (9999)")
    made.add_argument("--token", help="token that requests must carry (none: anyone may send requests)")
    made.add_argument("--token-file", metavar="FILE", help="file with the token; may change while the agent runs")
    made.add_argument("--cert", metavar="FILE", help="TLS certificate, PEM")
    made.add_argument("--key", metavar="FILE", help="TLS key, PEM")
    add_directories(made)
    made.add_argument("--state", metavar="DIR", help="directory for runtime state (/run/agent-router)")
    made.add_argument("--insecure", action="store_true", help="allow listening anywhere without token or TLS")
    made.add_argument("--max-request-mib", type=float, metavar="N", help="largest request body, MiB (8)")
    made.add_argument("--history", type=int, metavar="N", help="finished commands to remember (10000)")
    made.add_argument("--notices", metavar="DIR", help="notices of the ramdisk (/run/agent-router.notices)")
    return made


def add_directories(made: argparse.ArgumentParser) -> None:
    for name, kind in (("plugins", "plugins.d"), ("schemas", "schemas")):
        text = f"additional {kind} directory; repeatable (/etc/agent-router/{kind})"
        made.add_argument(f"--{name}", action="append", metavar="DIR", help=text)
    made.add_argument("--no-bundled", dest="bundled", action="store_false", help="leave out the bundled plugins")
    made.add_argument(
        "--devices",
        action="append",
        metavar="GLOB",
        help="block devices that destructive plugins may touch; !GLOB excludes; repeatable (none)",
    )


def main(argv: list[str]) -> int:
    flags: dict[str, Any] = vars(parser().parse_args(argv))
    config = flags.pop("config", "")
    try:
        settings = load(flags, os.environ, config)
        prepare_state(settings.state)
    except SettingsError as error:
        print(f"agent-router: {error}", file=sys.stderr)
        return 2
    return supervise(settings)


def prepare_state(state: str) -> None:
    try:
        os.makedirs(state, 0o700, exist_ok=True)
        os.chmod(state, 0o700)
        with open(state + "/.writable", "w") as file:
            file.write("yes")
        os.unlink(state + "/.writable")
    except OSError as error:
        raise SettingsError(
            f"the state directory {state} cannot be used: {error.strerror}; choose another with --state"
        ) from None


def supervise(
    settings: Settings,
    ready: Callable[[Settings], None] | None = None,
    heartbeat: Callable[[Settings], None] | None = None,
    at_rest: AtRest | None = None,
) -> int:
    """Serve until a signal; `ready` is called with the settings when the port is open.

    `heartbeat`, if given, becomes the main function of a third process beside runner and front.
    `at_rest` is called when a plugin has stopped the agent.
    """
    from agent_router.runner.supervisor import InUse, Supervisor

    settings.state = os.path.abspath(settings.state)
    rest_if_closed(settings.state, at_rest)
    started_at, supervisor_pid = time.time(), os.getpid()
    try:
        listener = _listen(settings)
        runner = partial(_runner, settings, listener, supervisor_pid)
        mains: dict[str, Callable[[], None]] = {
            "runner": runner,
            "front": lambda: _front(settings, listener, started_at),
        }
        if heartbeat is not None:
            mains["heartbeat"] = lambda: _heartbeat(heartbeat, settings, listener)
        supervisor = Supervisor(settings.state, mains)
    except (SettingsError, InUse) as error:
        stop(str(error))
    settings.port = listener.getsockname()[1]
    _announce(settings)
    if ready is not None:
        ready(settings)
    status = supervisor.run()
    listener.close()
    if supervisor.retired:
        rest_if_closed(settings.state, at_rest)
    return status


def rest_if_closed(state: str, at_rest: AtRest | None = None) -> None:
    """If a plugin has stopped the agent, sleep for the rest of the boot: init would restart an agent that exits."""
    found = end_of_service.closed(state)
    if found is None:
        return
    print(f"agent-router: stopped by {found.method} until the next boot; see {state}/closed", flush=True)
    if at_rest is not None:
        at_rest(found)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # plugins that the runner left behind
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    while True:
        signal.pause()


def _listen(settings: Settings) -> socket.socket:
    """The supervisor owns the listening socket: while the front restarts, clients only wait."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    give_up = time.monotonic() + PORT_PATIENCE_S
    while True:
        try:
            listener.bind((settings.host.strip("[]"), settings.port))
            listener.listen(BACKLOG)
            return listener
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > give_up:
                where, why = f"{settings.host}:{settings.port}", error.strerror
                raise SettingsError(f"cannot listen on {where}: {why}; choose another --host or --port") from None
        time.sleep(0.05)


def _runner(settings: Settings, listener: socket.socket, supervisor_pid: int) -> None:
    from agent_router.config import environment
    from agent_router.runner import service

    listener.close()
    service.run(settings.state, settings.history, environment.base(settings), supervisor_pid)


def _heartbeat(main: Callable[[Settings], None], settings: Settings, listener: socket.socket) -> None:
    from agent_router.linux import libc

    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGTERM)  # the next supervisor starts its own
    listener.close()
    main(settings)


def _front(settings: Settings, listener: socket.socket, started_at: float) -> None:
    from agent_router.api import server
    from agent_router.conductor.bridge import translate

    server.run(settings, listener.fileno(), started_at, translate)


def _announce(settings: Settings) -> None:
    warning = token_warning(settings.token)
    if warning:
        print(f"agent-router: {warning}", file=sys.stderr, flush=True)
    scheme = "https" if settings.cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    guard = "token" if settings.token else "no token"
    print(f"agent-router: {scheme}://{host}:{settings.port}/ ({guard}, state in {settings.state})", flush=True)


def stop(message: str) -> NoReturn:
    print(f"agent-router: {message}", file=sys.stderr)
    raise SystemExit(2)
