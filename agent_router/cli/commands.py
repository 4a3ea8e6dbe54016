"""The interactive commands. Each reaches an agent by --url, or works on this machine without one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import click

from agent_router import __version__
from agent_router.cli import arguments, follow, show
from agent_router.cli.transport import LocalTransport, Transport, Unreachable
from agent_router.config.settings import Settings, SettingsError, load
from agent_router.schema.problems import RequestError

DEFAULT_URL = "http://127.0.0.1:9999"
BAD_REQUEST, FAILED, INTERRUPTED = 2, 1, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A pluggable agent for the utility ramdisk of bare-metal provisioning.

    Without --url, `methods`, `call` and `steps` work on this machine and need no server.
    """


@main.command("serve", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve_command(arguments: tuple[str, ...]) -> None:
    """Serve the REST API (agent-router serve --help)."""
    from agent_router.cli import serve

    raise SystemExit(serve.main(list(arguments)))


def connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select the agent."""
    for option in reversed(
        [
            click.option("--url", envvar="AGENT_ROUTER_URL", default="", help="URL of an agent."),
            click.option("--token", envvar="AGENT_ROUTER_TOKEN", default="", help="Token of that agent."),
            click.option("--cacert", default="", metavar="FILE", help="CA or certificate to trust (PEM)."),
            click.option("--no-verify", is_flag=True, help="Do not verify the certificate."),
        ]
    ):
        command = option(command)
    return command


def directories(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where to look for plugins when there is no --url."""
    for option in reversed(
        [
            click.option("--config", default="", metavar="FILE", help="Settings file (TOML)."),
            click.option("--plugins", multiple=True, metavar="DIR", help="Additional plugin directory (repeatable)."),
            click.option("--schemas", multiple=True, metavar="DIR", help="Additional manifest directory (repeatable)."),
            click.option("--devices", multiple=True, metavar="GLOB", help="Disks to allow changes on (repeatable)."),
            click.option("--no-bundled", is_flag=True, help="Leave out the bundled plugins."),
        ]
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def agent(options: dict[str, Any], url: str = "") -> Iterator[Transport]:
    """The agent that the options select; errors become one sentence and an exit status."""
    url = options.get("url") or url
    try:
        if url:
            from agent_router.cli.http_transport import HttpTransport

            yield HttpTransport(url, options["token"], options["cacert"], not options["no_verify"])
        else:
            with LocalTransport(_settings(options)) as local:
                yield local
    except (Unreachable, SettingsError, arguments.BadArguments) as error:
        print(f"agent-router: {error}", file=sys.stderr)
        raise SystemExit(BAD_REQUEST) from None
    except RequestError as error:
        show.request_error(error)
        raise SystemExit(BAD_REQUEST) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _settings(options: dict[str, Any]) -> Settings:
    # Nothing listens here, so the listening settings need not be valid, or even readable.
    flags: dict[str, Any] = {"host": "127.0.0.1", "token": None, "token_file": None, "cert": None, "key": None}
    flags |= {name: list(options[name]) for name in ("plugins", "schemas", "devices") if options.get(name)}
    if options.get("no_bundled"):
        flags["bundled"] = False
    return load(flags, os.environ, options.get("config", ""))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON even on a terminal.")
@connection
@directories
def methods(name: str | None, as_json: bool, **options: Any) -> None:
    """List methods and their states, or show one."""
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
@click.option("--plan", is_flag=True, help="Show what would be done; do nothing.")
@click.option("--timeout", type=float, metavar="S", help="Time limit in seconds; shortens the plugin's own.")
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

    Exit status: 0 success, 1 plugin failed, 2 request refused, 130 interrupted.
    """
    with agent(options) as transport:
        manifest = transport.request("GET", f"/v1/methods/{quote(name, safe='')}").get("manifest", {})
        schema = manifest.get("request", {})
        shared = {**manifest.get("$defs", {}), **schema.get("$defs", {})}
        params = arguments.request(pairs, file, {**schema, "$defs": shared})
        body = {"name": name, "params": params}
        log = sys.stderr.isatty() if log is None else log
        command = follow.run(transport, body, log, plan=plan, timeout_s=timeout)
    finish(command, as_json, log)


def finish(command: dict[str, Any], as_json: bool, log_shown: bool) -> None:
    """Print the outcome of a command and exit with its status."""
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
        command = follow.follow(transport, quote(id, safe=""), True, follow.CtrlC())
    finish(command, as_json, log_shown=True)


@main.command()
@click.argument("id")
@connection
def cancel(id: str, **options: Any) -> None:
    """Cancel a running command and show what was interrupted."""
    with agent(options, DEFAULT_URL) as transport:
        command = transport.request("DELETE", f"/v1/commands/{quote(id, safe='')}", wait=True)
        error = command["command_error"] or {"message": "it had already finished"}
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


@main.command("overlay")
@click.argument("directory", metavar="DIR")
@click.option("-o", "--output", default="plugins.cpio.gz", metavar="FILE", help="Archive to write (plugins.cpio.gz).")
@click.option("--force", is_flag=True, help="Write it even if the agent would refuse some plugins.")
def overlay_command(directory: str, output: str, force: bool) -> None:
    """Pack plugins into a second initrd.

    It adds them to a ramdisk that is not rebuilt.

    DIR contains plugins.d/ and schemas/, and root/ with other files, at their paths on the ramdisk.

    Exit status: 0 written, 1 not written (disk full, unreadable file), 2 refused.
    """
    from agent_router.cli import overlay

    raise SystemExit(overlay.main(directory, output, force))


@main.command("seed")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@click.option("--bind", default="0.0.0.0", metavar="ADDRESS", help="Address to serve on (all).")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="HTTP port (8000; 0: any free one).")
@click.option("--advertise", default="", metavar="URL", help="URL of this server for the nodes, if not its address.")
@click.option("--peer-port", default=6881, type=click.IntRange(1, 65535), help="BitTorrent port (6881).")
@click.option("--tracker", "trackers", multiple=True, metavar="URL", help="Additional tracker (repeatable).")
@click.option("--no-torrent", is_flag=True, help="HTTP only.")
@click.option("--rate", default=0.0, metavar="MIB", help="Limit in MiB/s, for HTTP and for peers each.")
@click.option("--multicast", is_flag=True, help="Also send each image by udpcast, in repeated sessions.")
@click.option("--group", default="", metavar="ADDRESS", help="Rendezvous address of the sessions (broadcast).")
@click.option("--portbase", default=9000, type=click.IntRange(1024, 65000), help="First udpcast port, even (9000).")
@click.option("--interface", default="", metavar="NAME", help="Interface for multicast.")
@click.option("--receivers", default=1, type=click.IntRange(1), help="Receivers needed to start a session (1).")
@click.option("--wait", "wait_s", default=30, type=click.IntRange(0), help="Longest wait for them, in seconds (30).")
@click.option("--multicast-rate", default=0, type=click.IntRange(0), metavar="MBIT", help="Multicast limit in Mbit/s.")
@click.option(
    "--drop-after",
    "drop_s",
    default=8,
    type=click.IntRange(2),
    help="Drop receivers silent for this many s (8).",
)
@click.option("--only-make", is_flag=True, help="Write the side files for another web server; serve nothing.")
@click.option("-o", "--output", default="", metavar="DIR", help="Where to write them (beside the first image).")
def seed_command(images: tuple[str, ...], only_make: bool, output: str, **options: Any) -> None:
    """Serve images to a fleet of machines.

    By HTTP, BitTorrent and multicast, with torrent, Metalink and checksum files. Prints what to put into a request, and
    serves until Ctrl-C or SIGTERM. See docs/seeding.md.

    Exit status: 0 stopped by a signal, 1 could not serve, 2 refused.
    """
    from agent_router.cli import seed

    directory = output or seed.default_directory(images)
    raise SystemExit(seed.main(images, seed.options(**options), directory if only_make else None))
