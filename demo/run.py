#!/usr/bin/env python3
"""make demo: show what agent-router does, on this machine, over HTTP, on two loop disks.

Exits with status 0 only if everything went as expected.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from client import Client
from world import MIB, World, compact, kill_front, run

HERE = Path(__file__).parent
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
COLOUR = sys.stdout.isatty()


def title(text: str) -> None:
    line = f"\n── {text} " + "─" * max(3, 76 - len(text))
    print(f"\033[1m{line}\033[0m" if COLOUR else line, flush=True)


def say(text: str) -> None:
    print(f"   {text}", flush=True)


def expect(condition: object, text: str) -> None:
    """A condition that must hold; otherwise the demo exits with status 1."""
    if not condition:
        say(f"✗ {text}")
        raise SystemExit(f"demo: expectation failed: {text}")
    say(f"✓ {text}")


def private_mounts() -> None:
    """Keep the mounts of the demo private."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise SystemExit(f"demo: no private mount namespace: {os.strerror(ctypes.get_errno())}")


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("demo: must run as root, because it creates loop disks; it touches no other disk")
    private_mounts()
    world = World()
    try:
        play(world)
    finally:
        world.close()
    print("\nEverything went as expected. README.md explains what you saw; docs/commands.md lists every method.")


def play(world: World) -> None:
    title("Setting the stage: two loop disks, a web server with a disk image, an agent")
    first, second = world.make_disk(96), world.make_disk(64)
    image, digest = world.make_image(64)
    url = world.serve_images(image.parent, mib_per_s=20) + "/" + image.name
    started = time.monotonic()
    world.start_agent()
    client = Client(world.port, world.token)
    client.wait_until_up()
    say(
        f"agent on http://127.0.0.1:{world.port} after {time.monotonic() - started:.2f} s; "
        f"it may only touch {first} and {second}"
    )
    methods = client.ask("GET", "/v1/methods")[1]["methods"]
    ready = [item["name"] for item in methods if item["state"] == "ready"]
    expect(len(ready) >= 7, f"{len(ready)} methods are ready: {', '.join(ready)}")
    for item in methods:
        if item["state"] != "ready":
            say(f"  {item['name']} is {item['state']}: {item['reason']}")

    inventory(client)
    wipe(client, first)
    write_image(client, world, first, url, digest)
    drop_in(client, world, first)
    bad_requests(client)
    cancel(client, second, url)


def inventory(client: Client) -> None:
    title("What is this machine? POST /v1/commands/ hardware.inventory")
    command = client.call("hardware.inventory", {})
    expect(command["command_status"] == "SUCCEEDED", "the inventory is in Ironic's format")
    found = command["command_result"]
    say(
        f"{found['cpu']['count']} x {found['cpu']['model_name']}, {found['memory']['physical_mb']} MiB, "
        f"boot mode {found['boot']['current_boot_mode']}, {len(found['interfaces'])} network interfaces, "
        f"{len(found['disks'])} disks"
    )


def wipe(client: Client, disk: str) -> None:
    title("A destructive plugin, written in bash: disk.wipe")
    plan = client.call("disk.wipe", {"device": disk}, "wait=true&plan=true")
    expect(plan["command_status"] == "SUCCEEDED", plan["command_error"] or "disk.wipe supports plan")
    expect("gpt" in plan["command_result"]["wiped"], f"plan=true shows what would be wiped: {plan['command_result']}")
    command = client.call("disk.wipe", {"device": disk})
    expect(command["command_status"] == "SUCCEEDED", f"wiped {disk}: {command['command_result']['wiped']}")
    again = client.call("disk.wipe", {"device": disk})
    expect(again["command_result"] == {"wiped": []}, "wiping it again finds nothing")
    root = run("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "/").strip()
    other = root if root.startswith("/dev/") else "/dev/loop-control"
    refused = client.call("disk.wipe", {"device": other})
    expect(refused["command_status"] == "FAILED", f"another disk is refused: {refused['command_error']['message']}")


def write_image(client: Client, world: World, disk: str, url: str, digest: str) -> None:
    title("Writing an image from a web server to a disk; the HTTP front is killed halfway")
    params = {"device": disk, "sources": url, "digest": digest}
    command = client.call("image.write", params, "wait=false")
    id, killed, seen = command["id"], 0, 0
    for kind, event in client.events(id):
        if kind == "progress":
            seen = event["seq"]
            show_bar(event)
            if event["done"] > event["total"] / 3:
                assert world.agent is not None
                killed = kill_front(world.agent.pid)
                break
    expect(killed > 0, f"kill -9 of the HTTP front (process {killed}) in the middle of the write")
    client.wait_until_up()
    expect(
        client.call("disk.list", {"types": ["loop"]})["command_status"] == "SUCCEEDED",
        "the front restarts by itself and serves other requests while the write continues",
    )
    busy = client.call("disk.wipe", {"device": disk})
    expect("Agent is busy" in busy.get("faultstring", ""), f"the disk is locked: {busy['faultstring']}")
    for kind, event in client.events(id, after=seen):
        if kind == "progress":
            show_bar(event)
    command = client.ask("GET", f"/v1/commands/{id}?wait=true")[1]
    expect(command["command_status"] == "SUCCEEDED", f"written and verified: {compact(command['command_result'])}")
    expect(hello_on(disk).startswith("This file came over HTTP"), "the file system on the disk mounts and has our file")


def show_bar(progress: dict[str, Any]) -> None:
    """One line, redrawn on a terminal; elsewhere, a new line for about every fifth of the work."""
    share = progress["done"] / progress["total"]
    text = f"   [{'█' * int(share * 30):<30}] {share:4.0%}  {progress.get('message', ''):<24}"
    if COLOUR:
        print(text, end="\n" if share == 1 else "\r", flush=True)
    elif share == 1 or int(share * 32) % 6 == 0:
        print(text, flush=True)


def hello_on(disk: str) -> str:
    place = tempfile.mkdtemp()
    run("mount", "-o", "ro", disk, place)
    try:
        return Path(place, "hello.txt").read_text()
    finally:
        run("umount", place)
        os.rmdir(place)


def drop_in(client: Client, world: World, disk: str) -> None:
    title("Adding plugins to a running agent: a bash script and an unmodified binary")
    plugins, schemas = world.folder / "plugins.d", world.folder / "schemas"
    missing = client.call("disk.hello", {"device": disk})
    expect("no method" in missing["faultstring"], f"before: {missing['faultstring']}")
    shutil.copy(HERE / "drop_in/disk.hello.json", schemas)
    shutil.copy(HERE / "drop_in/disk.hello", plugins)
    command = client.call("disk.hello", {"device": disk})
    answer = command["command_result"] or command["command_error"]
    expect(command["command_status"] == "SUCCEEDED", f"callable right after cp: {answer}")
    shutil.copy(shutil.which("lscpu") or "", plugins / "cpu.topology")
    shutil.copy(HERE / "drop_in/cpu.topology.json", schemas)
    status, answer = client.ask("POST", "/v1/methods/cpu.topology", {})
    expect(status == 200, f"lscpu, unmodified: {compact(answer['lscpu'][0], 100)}")


def bad_requests(client: Client) -> None:
    title("Bad requests: all problems at once, each with its path")
    wrong = {"devise": 5, "sources": 1, "format": "iso"}
    status, answer = client.ask("POST", "/v1/commands/", {"name": "image.write", "params": wrong})
    expect(status == 400 and len(answer["problems"]) >= 3, "400 Bad Request:")
    for problem in answer["problems"]:
        say(f"  {problem['path']}: {problem['message']}")
    status, answer = client.ask("POST", "/v1/commands/", {"name": "disk.whipe", "params": {}})
    expect(status == 404 and "disk.wipe" in answer["faultstring"], answer["faultstring"])


def cancel(client: Client, disk: str, url: str) -> None:
    title("Cancel: DELETE /v1/commands/ID in the middle of a write")
    wanted = {"device": disk, "sources": f"{url}?slowly", "digest": "0" * 64}
    id = client.call("image.write", wanted, "wait=false")["id"]
    for kind, event in client.events(id):
        if kind == "progress" and event["done"] > MIB:
            break
    _, command = client.ask("DELETE", f"/v1/commands/{id}?wait=true")
    error = command["command_error"]
    expect(error["type"] == "Cancelled", error["message"])
    with open(disk, "rb") as file:
        expect(not any(file.read(MIB)), "nothing bootable is left: the first MiB of the disk is zero")
    log = client.ask("GET", "/v1/commands/")[1]["commands"]
    expect(len(log) >= 8 and log[-1]["id"] == id, f"GET /v1/commands/ lists all {len(log)} commands")


if __name__ == "__main__":
    main()
