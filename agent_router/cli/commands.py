"""The commands a person types. Each reaches an agent by --url, or works on this machine without one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import click

from agent_router import __version__
from agent_router.cli import arguments, live, show
from agent_router.cli.transport import Local, Transport, Unreachable
from agent_router.config import settings as settings_module
from agent_router.config.settings import SettingsError
from agent_router.schema.problems import RequestError

DEFAULT_URL = "http://127.0.0.1:9999"
BAD_REQUEST, FAILED, INTERRUPTED = 2, 1, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A pluggable agent for the utility ramdisk of bare-metal provisioning.

    Without --url, `methods`, `call` and `steps` work on this machine and need no server.
    """


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve the REST API (agent-router serve --help)."""
    from agent_router.cli import serve as serve_module

    raise SystemExit(serve_module.main(list(arguments)))


def connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which agent is meant."""
    for option in reversed(
        [
            click.option("--url", envvar="AGENT_ROUTER_URL", default="", help="URL of an agent."),
            click.option("--token", envvar="AGENT_ROUTER_TOKEN", default="", help="Token of that agent."),
            click.option("--cacert", default="", metavar="FILE", help="CA or certificate to trust (PEM)."),
            click.option("--no-verify", is_flag=True, help="Do not check the certificate."),
        ]
    ):
        command = option(command)
    return command


def directories(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where plugins are looked for when there is no --url."""
    for option in reversed(
        [
            click.option("--config", default="", metavar="FILE", help="Settings file (TOML)."),
            click.option("--plugins", multiple=True, metavar="DIR", help="More plugins (repeatable)."),
            click.option("--schemas", multiple=True, metavar="DIR", help="More manifests (repeatable)."),
            click.option("--devices", multiple=True, metavar="GLOB", help="Disks that may be changed (repeatable)."),
            click.option("--no-bundled", is_flag=True, help="Leave the bundled plugins out."),
        ]
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def agent(options: dict[str, Any], url: str = "") -> Iterator[Transport]:
    """The agent that the options name; errors become one sentence and an exit status."""
    url = options.get("url") or url
    try:
        if url:
            from agent_router.cli.http import Http

            yield Http(url, options["token"], options["cacert"], not options["no_verify"])
        else:
            with Local(_settings(options)) as local:
                yield local
    except (Unreachable, SettingsError, arguments.BadArguments) as error:
        print(f"agent-router: {error}", file=sys.stderr)
        raise SystemExit(BAD_REQUEST) from None
    except RequestError as error:
        show.request_error(error)
        raise SystemExit(BAD_REQUEST) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _settings(options: dict[str, Any]) -> settings_module.Settings:
    # Nothing listens here, so what the settings say about that need not be good, or even readable.
    flags: dict[str, Any] = {"host": "127.0.0.1", "token": "", "token_file": "", "cert": "", "key": ""}
    flags |= {name: list(options[name]) for name in ("plugins", "schemas", "devices") if options.get(name)}
    if options.get("no_bundled"):
        flags["bundled"] = False
    return settings_module.load(flags, os.environ, options.get("config", ""))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON even on a terminal.")
@connection
@directories
def methods(name: str | None, as_json: bool, **options: Any) -> None:
    """List the methods and their states, or show one."""
    with agent(options) as transport:
        if name:
            return show.result(transport.request("GET", f"/v1/methods/{quote(name, safe='')}"))
        found = transport.request("GET", "/v1/methods")
        if as_json or not show.on_terminal():
            return show.result(found)
        show.methods(found["methods"])
        show.notices(found.get("notices", []))


@main.command()
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]… | -")
@click.option("-f", "--file", default="", metavar="FILE", help="Request as a JSON file; - is standard input.")
@click.option("--plan", is_flag=True, help="Say what would be done; do nothing.")
@click.option("--timeout", type=float, metavar="S", help="Seconds; shortens the plugin's own limit.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole command object as JSON.")
@click.option("--log/--no-log", default=None, help="Show the plugin's log (default: on a terminal).")
@connection
@directories
def call(
    name: str,
    pairs: tuple[str, ...],
    file: str,
    plan: bool,
    timeout: float | None,
    as_json: bool,
    log: bool | None,
    **options: Any,
) -> None:
    """Call a method and print its response; Ctrl-C cancels it.

    Exit status: 0 done, 1 the plugin failed, 2 the request was refused, 130 interrupted.
    """
    with agent(options) as transport:
        manifest = transport.request("GET", f"/v1/methods/{quote(name, safe='')}").get("manifest", {})
        schema = manifest.get("request", {})
        shared = {**manifest.get("$defs", {}), **schema.get("$defs", {})}
        params = arguments.request(pairs, file, {**schema, "$defs": shared})
        body = {"name": name, "params": params}
        log = sys.stderr.isatty() if log is None else log
        command = live.run(transport, body, log, plan=plan, timeout_s=timeout)
    finish(command, as_json, log)


def finish(command: dict[str, Any], as_json: bool, log_shown: bool) -> None:
    """Print the end of a command and leave with its status."""
    if as_json:
        show.result(command)
    elif command["command_status"] == "SUCCEEDED":
        show.result(command["command_result"])
    if command["command_status"] != "SUCCEEDED":
        if not as_json:
            show.failure(command, log_shown)
        raise SystemExit(INTERRUPTED if command["command_error"]["type"] == "Cancelled" else FAILED)


@main.command()
@click.argument("id", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON even on a terminal.")
@connection
def commands(id: str | None, as_json: bool, **options: Any) -> None:
    """List the commands of an agent, or show one."""
    with agent(options, DEFAULT_URL) as transport:
        if id:
            return show.result(transport.request("GET", f"/v1/commands/{quote(id, safe='')}"))
        found = transport.request("GET", "/v1/commands/")["commands"]
        if as_json or not show.on_terminal():
            return show.result(found)
        show.commands(found)


@main.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print the whole command object as JSON.")
@connection
def watch(id: str, as_json: bool, **options: Any) -> None:
    """Follow a running command: progress and log, then its result. Ctrl-C cancels the command."""
    with agent(options, DEFAULT_URL) as transport:
        command = live.follow(transport, quote(id, safe=""), True, live.CtrlC())
    finish(command, as_json, log_shown=True)


@main.command()
@click.argument("id")
@connection
def cancel(id: str, **options: Any) -> None:
    """Cancel a running command and say what was interrupted."""
    with agent(options, DEFAULT_URL) as transport:
        command = transport.request("DELETE", f"/v1/commands/{quote(id, safe='')}", wait=True)
        error = command["command_error"] or {"message": "it had finished its work"}
        print(f"{command['name']}: {error['message']}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="JSON even on a terminal.")
@connection
@directories
def steps(as_json: bool, **options: Any) -> None:
    """List the steps that the plugins offer to Ironic."""
    with agent(options) as transport:
        found = transport.request("GET", "/v1/steps")
        if as_json or not show.on_terminal():
            return show.result(found)
        show.steps(found)


@main.command()
@click.argument("directory", metavar="DIR")
@click.option("-o", "--output", default="plugins.cpio.gz", metavar="FILE", help="Archive to write (plugins.cpio.gz).")
@click.option("--force", is_flag=True, help="Write it although the agent would refuse some of the plugins.")
def overlay(directory: str, output: str, force: bool) -> None:
    """Pack plugins for a ramdisk that is not rebuilt: an archive to boot with as a second initrd.

    DIR holds plugins.d/ and schemas/, and root/ for further files, named as on the ramdisk.

    Exit status: 0 written, 1 not written (disk full, file not readable), 2 refused.
    """
    from agent_router.cli import overlay as overlay_module

    raise SystemExit(overlay_module.main(directory, output, force))


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--bind", default="0.0.0.0", metavar="ADDRESS", help="Address to serve on (every one).")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="Port of HTTP (8000; 0 is any free one).")
@click.option("--advertise", default="", metavar="URL", help="What nodes call this server, if not by its address.")
@click.option("--peer-port", default=6881, type=click.IntRange(1, 65535), help="Port of BitTorrent (6881).")
@click.option("--tracker", "trackers", multiple=True, metavar="URL", help="A tracker besides our own (repeatable).")
@click.option("--no-torrent", is_flag=True, help="HTTP only.")
@click.option("--rate", default=0.0, metavar="MIB", help="MiB a second over HTTP, and as many to peers.")
@click.option("--multicast", is_flag=True, help="Also send each image by udpcast, session after session.")
@click.option("--group", default="", metavar="ADDRESS", help="Rendezvous address of the sessions (broadcast).")
@click.option("--portbase", default=9000, type=click.IntRange(1024, 65000), help="First udpcast port, even (9000).")
@click.option("--interface", default="", metavar="NAME", help="Interface of multicast.")
@click.option("--receivers", default=1, type=click.IntRange(1), help="Receivers to begin a session with (1).")
@click.option("--wait", "wait_s", default=30, type=click.IntRange(0), help="Seconds to wait for them at most (30).")
@click.option("--multicast-rate", default=0, type=click.IntRange(0), metavar="MBIT", help="Mbit/s of multicast.")
@click.option("--drop-after", "drop_s", default=8, type=click.IntRange(2), help="Seconds to wait for a silent one (8).")
@click.option("--only-make", is_flag=True, help="Write the side files for a web server that is there; serve nothing.")
@click.option("-o", "--output", default="", metavar="DIR", help="Where to (beside the first image).")
def seed(images: tuple[str, ...], only_make: bool, output: str, **options: Any) -> None:
    """Give images to a fleet: web server, torrent with tracker and seed, multicast, and the files that tell of them.

    Prints what to put into a request, serves until Ctrl-C or SIGTERM. See docs/seeding.md.

    Exit status: 0 ended when told to, 1 could not serve, 2 refused.
    """
    from agent_router.cli import seed as seed_module

    directory = output or seed_module.default_directory(images)
    raise SystemExit(seed_module.main(images, seed_module.options(**options), directory if only_make else None))
