import logging
import os

import pytest

from agent_router.api import auth
from agent_router.config.settings import Settings
from agent_router.schema.problems import RequestError

TOKEN = "a+token/of&24=characters"
QUOTED = "a%2Btoken%2Fof%2624%3Dcharacters"


def allowed(query="", authorization="", token=TOKEN):
    try:
        auth.check(token, query, authorization)
    except RequestError as error:
        assert (error.status, error.code) == (401, "token_invalid")
        assert "agent_token" not in error.message  # Ironic would take it for an agent without tokens
        assert token not in error.message
        return False
    return True


@pytest.mark.parametrize(("query", "authorization"), [
    ("", f"Bearer {TOKEN}"), ("", f"bearer {TOKEN}"), ("", f"BEARER   {TOKEN} "), (f"agent_token={QUOTED}", ""),
    (f"wait=true&agent_token={QUOTED}&x=1", ""), (f"agent_token={QUOTED}", "Basic dXNlcjpwYXNz"),
    (f"agent_token={QUOTED}&agent_token=other", ""),
])  # fmt: skip
def test_the_token_opens(query, authorization):
    assert allowed(query, authorization)


def test_a_token_beyond_ascii_opens_as_the_bytes_that_curl_sends():
    token = "0123456789-Äß€à"
    assert allowed("", f"Bearer {token.encode().decode('latin-1')}", token=token)
    assert allowed("agent_token=0123456789-%C3%84%C3%9F%E2%82%AC%C3%A0", token=token)
    assert not allowed("", f"Bearer {token}", token=token)


@pytest.mark.parametrize(("query", "authorization"), [
    ("", ""), ("", "Bearer"), ("", "Bearer "), ("", f"Bearer {TOKEN}x"), ("", f"Bearer {TOKEN[:-1]}"), ("", TOKEN),
    ("", f"Basic {TOKEN}"), ("agent_token=", ""), (f"agent_token={QUOTED}x", ""), (f"my_agent_token={QUOTED}", ""),
    (f"Agent_Token={QUOTED}", ""), (f"agent_token=wrong&agent_token={QUOTED}", ""), ("agent_token=%00%ff%zz", ""),
    (f"agent_token={QUOTED}", "Bearer wrong"), ("", f"Bearer {TOKEN.upper()}"), ("", "Bearer ü€😀"),
])  # fmt: skip
def test_anything_else_does_not(query, authorization):
    assert not allowed(query, authorization)


@pytest.mark.parametrize(("text", "shown"), [
    ("/v1/commands/?agent_token=secret&wait=true", "/v1/commands/?agent_token=***&wait=true"),
    ("GET /?agent_token=secret HTTP/1.1", "GET /?agent_token=*** HTTP/1.1"),
    ("a agent_token=x b agent_token=y", "a agent_token=*** b agent_token=***"),
    ("/v1/methods", "/v1/methods"),
])  # fmt: skip
def test_a_token_is_not_shown(text, shown):
    assert auth.without_token(text) == shown


def test_a_token_in_a_file_may_change(tmp_path):
    """The first lookup brings Ironic's own while the agent listens already."""
    path = tmp_path / "token"
    path.write_text("the first token of all\n")
    token = auth.Token(Settings(token="the first token of all", token_file=str(path)))
    auth.check(token.now(), "", "Bearer the first token of all")
    new = tmp_path / "new"
    new.write_text("the second token of all")
    new.replace(path)
    auth.check(token.now(), "", "Bearer the second token of all")
    with pytest.raises(RequestError):
        auth.check(token.now(), "", "Bearer the first token of all")
    path.unlink()
    auth.check(token.now(), "", "Bearer the second token of all")


def test_a_file_that_is_filled_within_one_tick_of_the_clock_is_read_again(tmp_path):
    path = tmp_path / "token"
    path.write_text("")
    token = auth.Token(Settings(token="the first token of all", token_file=str(path)))
    auth.check(token.now(), "", "Bearer the first token of all")
    before = path.stat()
    path.write_text("the second token of all")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    auth.check(token.now(), "", "Bearer the second token of all")


def test_a_file_that_becomes_a_pipe_or_a_directory_keeps_nobody_waiting(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    token = auth.Token(Settings(token=TOKEN, token_file=str(path)))
    for make in (os.mkfifo, os.mkdir):
        path.unlink(missing_ok=True)
        make(path)
        assert token.now() == TOKEN


def test_an_empty_file_lets_nobody_in(tmp_path):
    path = tmp_path / "token"
    path.write_text("")
    token = auth.Token(Settings(token="the first token of all", token_file=str(path)))
    with pytest.raises(RequestError):
        auth.check(token.now(), "", "")


@pytest.fixture
def changed(tmp_path, caplog):
    """Whether the token that a file has got later opens, and whether the one before still does, and what was logged."""

    def change(data, host):
        caplog.clear()
        path = tmp_path / "token"
        path.write_text(TOKEN)
        token = auth.Token(Settings(token=TOKEN, token_file=str(path), host=host))
        auth.check(token.now(), "", f"Bearer {TOKEN}")
        path.write_bytes(data)
        with caplog.at_level(logging.WARNING):
            return [opens(token, text) for text in (data.decode(errors="replace"), TOKEN)], caplog.messages

    return change


def opens(token, text):
    try:
        auth.check(token.now(), "", f"Bearer {text}")
    except RequestError:
        return False
    return True


def test_a_file_that_gets_a_short_token_is_heard_on_loopback_with_a_warning(changed):
    opened, [said] = changed(b"678123", "127.0.0.1")
    assert opened == [True, False]
    assert said.startswith("token is shorter than 16 characters, which will do on loopback only; ")


@pytest.mark.parametrize(("data", "host", "sentence"), [
    (b"678123", "::", "is shorter than 16 characters, too short beyond loopback"),
    (b"0123456789\0abcdef", "127.0.0.1", "has white space around it, or a control character in it"),
    (b"", "127.0.0.1", "is empty"), (b"\xff" * 20, "::", "cannot be read"),
])  # fmt: skip
def test_a_file_that_gets_what_no_start_would_take_leaves_the_token_as_it_was(changed, data, host, sentence):
    opened, [said] = changed(data, host)
    assert opened == [False, True]
    assert (sentence in said, "goes on to hold" in said, "678123" in said) == (True, True, False)
