"""The token: as query parameter (Ironic's way) or as Authorization: Bearer. Never logged."""

import hmac
import re
from urllib.parse import parse_qs, unquote_plus

from agent_router.core.problems import RequestError

# Ironic takes the word agent_token in an error text for "this agent is too old for tokens",
# so it must not stand there.
REFUSED = "Token missing or wrong; send the agent's token as query parameter or as Authorization: Bearer"
PUBLIC = {"/", "/v1", "/v1/", "/v1/status", "/status"}

_IN_QUERY = re.compile(r"(agent_token=)[^&\s]*")


def check(token: str, path: str, query: str, authorization: str) -> None:
    """RequestError 401 unless the request carries `token`; an empty `token` lets everybody in."""
    if not token or path in PUBLIC:
        return
    given = ""
    if authorization[:7].lower() == "bearer ":
        given = authorization[7:].strip()
    elif "agent_token=" in query:
        given = _from_query(query)
    if not hmac.compare_digest(given.encode(), token.encode()):
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
