"""The token: as query parameter (Ironic's way) or as Authorization: Bearer. Never logged."""

import hmac
import logging
import os
import re
import stat
from urllib.parse import unquote_plus

from agent_router.config.settings import Settings, SettingsError, token_in, token_warning
from agent_router.schema.problems import RequestError

log = logging.getLogger("agent_router")

# Ironic takes the word agent_token in an error text for "this agent is too old for tokens",
# so it must not stand there.
REFUSED = "Token missing or wrong; send the agent's token as query parameter or as Authorization: Bearer"
PUBLIC = {"/", "/v1", "/v1/", "/v1/status", "/status"}  # need no token

IN_QUERY = "agent_token"
_SHOWN = re.compile(rf"({IN_QUERY}=)[^&\s]*")


class Token:
    """What requests must carry: a text, or what stands in a file, which may change while we run."""

    def __init__(self, settings: Settings) -> None:
        self._text = settings.token
        self._path = settings.token_file
        self._host = settings.host
        self._key: tuple[int, ...] = ()

    def now(self) -> str:
        """The token as it holds now; "" lets everybody in."""
        self._reread()
        return self._text

    def _reread(self) -> None:
        if not self._path:
            return
        try:
            info = os.stat(self._path)
        except OSError:
            return  # it was there when the agent started: that one goes on to hold
        if not stat.S_ISREG(info.st_mode):
            return  # nobody writes a token into a pipe for us
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


def check(token: str, query: str, authorization: str) -> None:
    """RequestError 401 unless the request carries `token`."""
    given = b""
    if authorization[:7].lower() == "bearer ":
        given = authorization[7:].strip(" \t").encode("latin-1", "replace")  # a header is bytes, shown as Latin-1
    elif f"{IN_QUERY}=" in query:
        given = _from_query(query).encode()
    if not hmac.compare_digest(given, token.encode()):
        raise RequestError(401, "token_invalid", REFUSED)


def _from_query(query: str) -> str:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == IN_QUERY:
            return unquote_plus(value)
    return ""


def without_token(text: str) -> str:
    """A URL or log line that may be shown."""
    return _SHOWN.sub(r"\1***", text)
