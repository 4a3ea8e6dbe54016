"""The token: as query parameter (Ironic's way) or as Authorization: Bearer. Never logged."""

import hmac
import logging
import os
import re
from urllib.parse import parse_qs, unquote_plus

from agent_router.config.settings import Settings, SettingsError, token_in, token_warning
from agent_router.schema.problems import RequestError

log = logging.getLogger("agent_router")

# Ironic takes the word agent_token in an error text for "this agent is too old for tokens",
# so it must not stand there.
REFUSED = "Token missing or wrong; send the agent's token as query parameter or as Authorization: Bearer"
PUBLIC = {"/", "/v1", "/v1/", "/v1/status", "/status"}

_IN_QUERY = re.compile(r"(agent_token=)[^&\s]*")


class Token:
    """What requests must carry: a text, or what stands in a file, which may change while we run."""

    def __init__(self, settings: Settings) -> None:
        self._text = settings.token
        self._path = settings.token_file
        self._host = settings.host
        self._key: tuple[int, ...] = ()

    def check(self, path: str, query: str, authorization: str) -> None:
        """RequestError 401 unless the request carries the token; an empty one lets everybody in."""
        self._reread()
        check(self._text, path, query, authorization)

    def _reread(self) -> None:
        if not self._path:
            return
        try:
            info = os.stat(self._path)
        except OSError:
            return  # it was there when the agent started: that one goes on to hold
        key = info.st_mtime_ns, info.st_ino, info.st_size
        if key != self._key:
            self._key = key
            self._take()

    def _take(self) -> None:
        try:
            found = token_in(self._path, self._host)
        except SettingsError as error:
            log.warning("%s; the token from before goes on to hold", error)
            return
        warning = token_warning(found)
        if warning and found != self._text:
            log.warning("%s", warning)
        self._text = found


def check(token: str, path: str, query: str, authorization: str) -> None:
    """RequestError 401 unless the request carries `token`; an empty `token` lets everybody in."""
    if not token or path in PUBLIC:
        return
    given = b""
    if authorization[:7].lower() == "bearer ":
        given = authorization[7:].strip(" \t").encode("latin-1", "replace")  # a header is bytes, shown as Latin-1
    elif "agent_token=" in query:
        given = _from_query(query).encode()
    if not hmac.compare_digest(given, token.encode()):
        raise RequestError(401, "token_invalid", REFUSED)


def _from_query(query: str) -> str:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "agent_token":
            return unquote_plus(value)
    return ""


def without_token(text: str) -> str:
    """A URL or log line that may be shown."""
    return _IN_QUERY.sub(r"\1***", text)


def flag(query: str, name: str) -> bool | None:
    """A boolean query parameter; None if it is not there."""
    if name + "=" not in query:
        return None
    values = parse_qs(query, keep_blank_values=True).get(name)
    if not values:
        return None
    text = values[-1].lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise RequestError(400, "query_invalid", f"{name} must be true or false, not {values[-1][:40]!r}")
    return text in ("true", "1", "yes")


def value(query: str, name: str) -> str:
    """A text query parameter; "" if it is not there."""
    if name + "=" not in query:
        return ""
    return parse_qs(query).get(name, [""])[-1]
