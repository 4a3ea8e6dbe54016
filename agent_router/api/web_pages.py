"""Without a token, a web page must not be able to use the agent through the browser of somebody who can reach it.

A page can send requests anywhere. Its browser tells where it comes from (Origin, Sec-Fetch-Site), unless the page's own
name was made to lead to the agent's address (DNS rebinding): then the Host is a name that the agent does not have.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import Any

from agent_router.schema.problems import RequestError

HOSTS = "/etc/hosts"
NAME = re.compile(r"(?:\[([^]]+)\]|([^][:]*))(?::\d*)?")
CURE = "send it without a browser, or give the agent a token"


def refuse(environ: dict[str, Any]) -> None:
    """RequestError 403 or 415 if a page of another origin may have sent the request; others notice nothing."""
    host = environ.get("HTTP_HOST", "").strip().lower()
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin is not None and origin.strip().lower().partition("://")[2] != host:
        raise _foreign(f"Refused: a web page of the origin {origin[:100]!r} sent this request")
    if site not in (None, "same-origin", "none"):
        raise _foreign("Refused: a web page of another site sent this request")
    by_browser = origin is not None or site is not None or "HTTP_REFERER" in environ
    if host and not _own(host, by_browser):
        text = f"Refused: {host[:100]!r} in the header Host is no name of this machine"
        raise RequestError(403, "host_unknown", f"{text}; use its address, or give the agent a token")
    if by_browser and environ["REQUEST_METHOD"] == "POST" and not _is_json(environ.get("CONTENT_TYPE", "")):
        text = "Refused: a browser sent a body that is not JSON; give it the header Content-Type: application/json"
        raise RequestError(415, "media_type_invalid", text)


def _foreign(text: str) -> RequestError:
    return RequestError(403, "origin_foreign", f"{text}; {CURE}")


def _own(host: str, by_browser: bool) -> bool:
    """Whether nobody else can have made this name lead here."""
    found = NAME.fullmatch(host)
    if found is None:
        return False
    name = (found[1] or found[2]).removesuffix(".")
    if _is_address(name) or name == "localhost" or name.endswith(".localhost"):
        return True
    if "." not in name and not by_browser:  # nobody can register such a name
        return True
    return name == os.uname().nodename.lower() or name in _local_names()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)  # with %zone too
        return True
    except ValueError:
        pass
    try:
        socket.inet_aton(name)  # 127.1
        return name.replace(".", "").isdigit()
    except OSError:
        return False


def _local_names() -> set[str]:
    """What the machine itself calls itself and its neighbours: no page can put a name there."""
    try:
        with open(HOSTS, encoding="utf-8", errors="replace") as file:
            return {name.lower() for line in file for name in line.partition("#")[0].split()[1:]}
    except OSError:
        return set()


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
