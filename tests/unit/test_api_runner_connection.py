"""The front's connection to a runner that is made up: a socket on which the test answers."""

import socket
import threading
import types

import pytest

from agent_router.api import runner_connection
from agent_router.api.runner_connection import RunnerConnection
from agent_router.config.settings import Settings
from agent_router.ipc.loop import Loop


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(str(tmp_path / "runner.sock"))
        made.listen()
        yield made


def test_a_question_that_the_runner_hangs_up_on_is_not_asked_for_ever(tmp_path, listener, monkeypatch):
    monkeypatch.setattr(runner_connection, "RECONNECT_S", 0.001)
    met = []

    def hang_up():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            met.append(sock.recv(1 << 16))
            sock.close()

    threading.Thread(target=hang_up, daemon=True).start()
    loop = Loop()
    dispatcher = types.SimpleNamespace(settings=Settings(state=str(tmp_path)), closed=False)
    connection = RunnerConnection(loop, dispatcher, None)
    refused = []
    connection.ask({"op": "get", "id": "x"}, b"", lambda *answer: pytest.fail(str(answer)), refused.append)
    while not refused:
        loop.run_once()
    assert (refused[0].status, refused[0].code) == (503, "runner_gone")
    assert "hangs up again and again" in refused[0].message
    assert len(met) >= runner_connection.FRUITLESS - 1, "a runner that is started again has its chance"
