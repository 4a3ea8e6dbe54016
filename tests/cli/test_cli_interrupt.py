"""Ctrl-C while a command is being sent: it may have begun or not, and what has begun is cancelled."""

import http.server
import json
import signal
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from agent_router.cli import follow
from tests.support.waiting import HANG_S, wait_for


class Slow(http.server.ThreadingHTTPServer):
    """An agent that answers no POST until `answer` is set; it knows of no command if that is lost, and may be deaf."""

    daemon_threads = True

    def __init__(self, lost=False, deaf=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lost, self.deaf = lost, deaf
        self.sent, self.asked, self.answer = [], [], threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def command(self, id):
        if self.lost or id not in self.sent:
            words = f"There is no command '{id}'"
            return 404, {"faultstring": words, "message": words, "code": "command_unknown", "problems": []}
        error = {"type": "Cancelled", "code": 409, "message": "it was cancelled", "details": "it was cancelled"}
        ended = (
            {"command_status": "FAILED", "command_error": error}
            if ("DELETE", id) in self.asked and not self.deaf
            else {}
        )
        running = {"id": id, "name": "a.b", "command_status": "RUNNING", "command_error": None, "started_at": 0.0}
        return 200, {**running, "command_result": None, **ended}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urlsplit(self.path).path
        if path.startswith("/v1/methods/"):
            return self.reply(200, {"name": "a.b", "manifest": {}})
        id = path.split("/")[3]
        self.server.asked.append((self.command, id))
        self.reply(*self.server.command(id))

    do_DELETE = do_GET

    def do_POST(self):
        id = parse_qs(urlsplit(self.path).query)["id"][0]
        self.server.sent.append(id)
        self.server.answer.wait(HANG_S)
        self.reply(*self.server.command(id))

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def slow():
    made = []

    def make(**keys):
        made.append(Slow(**keys))
        return made[-1]

    yield make
    for server in made:
        server.answer.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("lost", [False, True])
def test_ctrl_c_while_a_command_is_sent_cancels_it(cli, slow, lost):
    server = slow(lost=lost)
    process = cli.start("call", "a.b", f"--url=http://127.0.0.1:{server.server_port}")
    [id] = wait_for(lambda: server.sent, "the request")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (130, b"")
    assert not server.answer.is_set()
    assert [one for one in server.asked if one[0] == "DELETE"] == [("DELETE", id)]
    assert "cancelling (Ctrl-C again leaves it running)" in err.decode()
    assert ("a.b failed (Cancelled): it was cancelled" in err.decode()) is not lost
    assert "Traceback" not in err.decode()


def test_a_command_that_was_sent_is_followed_to_its_end(cli, slow):
    """What the test above would not see if this agent were none."""
    server = slow()
    process = cli.start("call", "a.b", f"--url=http://127.0.0.1:{server.server_port}")
    [id] = wait_for(lambda: server.sent, "the request")
    server.answer.set()
    wait_for(lambda: ("GET", id) in server.asked, "it is followed")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, "a.b failed (Cancelled)" in err.decode()) == (130, True)


def test_a_second_ctrl_c_leaves_a_command_that_was_being_sent_too(cli, slow):
    server = slow(deaf=True)
    process = cli.start("call", "a.b", f"--url=http://127.0.0.1:{server.server_port}")
    [id] = wait_for(lambda: server.sent, "the request")
    process.send_signal(signal.SIGINT)
    wait_for(lambda: server.asked.count(("GET", id)) >= 2, "it waits for the end")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, err.decode().count("cancelling")) == (130, 1)
    assert server.asked.count(("DELETE", id)) == 1


@pytest.fixture
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield follow.CtrlC()
    signal.signal(signal.SIGINT, before)


def press_ctrl_c():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pytest.fail("it was not kept")


def test_ctrl_c_is_heard_where_it_is_waited_for_and_kept_until_then(ctrl_c):
    """In between a half drawn bar or a command that nobody follows would be left behind."""
    press_ctrl_c()
    with pytest.raises(KeyboardInterrupt), ctrl_c.heard():
        pytest.fail("it came before")
    with ctrl_c.heard():
        pass
    with pytest.raises(KeyboardInterrupt), ctrl_c.heard():
        signal.raise_signal(signal.SIGINT)
    press_ctrl_c()
