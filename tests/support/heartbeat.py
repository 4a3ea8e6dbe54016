"""The heartbeat process, for the tests of what it tells Ironic and when."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

NODE = "9588cd5c-5a6e-4d1c-a6cd-0f1a26d5c0de"
TOKEN, OTHER = "A" * 43, "B" * 43
LOOKUP, BEAT = "GET /v1/lookup", f"POST /v1/heartbeat/{NODE}"
LOCKED = (409, {"error_message": json.dumps({"faultstring": "Node is locked"})})
SCRIPT = """
import json, sys
from agent_router.conductor import heartbeat, lookup
from agent_router.conductor.boot_parameters import boot_parameters
given, state, cert, constants = json.loads(sys.argv[1])
for module in (heartbeat, lookup):
    vars(module).update(constants)
parameters = boot_parameters(given)
def inspect(ironic):
    ironic.inspected(parameters.inspection_urls, {"inventory": {}})
    return True
heartbeat.Heartbeat(state, 9999, cert, parameters, inspect, lambda text: print(text, flush=True)).run()
"""
SOON = {"FORCED_APART_S": 0.3, "AGAIN_S": 2.0, "RETRY_S": [0.1, 0.2], "LOCKED_S": [0.1], "BACKOFF_S": [0.05, 0.1]}


def node(token: str | None, timeout: float = 300, **more: object) -> tuple[int, object]:
    config = {"agent_token": token, "heartbeat_timeout": timeout, "unknown": {"to": "us"}, **more}
    return 200, {"node": {"uuid": NODE}, "config": config}


class Running:
    def __init__(self, directory: Path, given: dict[str, str], **constants: object) -> None:
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True)
        cert = directory / "cert.pem"
        cert.write_text("the certificate")
        self.argument = json.dumps([given, str(self.state), str(cert), {**SOON, **constants}])
        self.said = directory / "said"
        self.start()

    def start(self) -> None:
        with self.said.open("ab") as said:
            self.process = subprocess.Popen([sys.executable, "-c", SCRIPT, self.argument], stdout=said, stderr=said)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def command_ends(self) -> None:
        """As the front says it: it never waits for the heartbeat process."""
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with socket.socket(socket.AF_UNIX, kind) as teller, contextlib.suppress(BlockingIOError):
            teller.sendto(b"ended", str(self.state / "ended.sock"))
