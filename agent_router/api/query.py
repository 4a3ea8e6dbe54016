"""Query parameters."""

from urllib.parse import parse_qs

from agent_router.schema.problems import RequestError

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


def flag(query: str, name: str) -> bool | None:
    """A boolean; None if it is not there."""
    if name + "=" not in query:
        return None
    values = parse_qs(query, keep_blank_values=True).get(name)
    if not values:
        return None
    text = values[-1].lower()
    if text not in TRUE + FALSE:
        raise RequestError(400, "query_invalid", f"{name} must be true or false, not {values[-1][:40]!r}")
    return text in TRUE


def value(query: str, name: str) -> str:
    """A text; "" if it is not there."""
    if name + "=" not in query:
        return ""
    return parse_qs(query).get(name, [""])[-1]


def call_options(query: str) -> dict[str, str | float]:
    """id, plan and timeout_s as arguments of Dispatcher.prepare."""
    if not query:
        return {}
    options: dict[str, str | float] = {"id": value(query, "id")}
    if flag(query, "plan"):
        options["action"] = "plan"
    if text := value(query, "timeout_s"):
        try:
            options["timeout_s"] = float(text)
        except ValueError:
            raise RequestError(400, "timeout_invalid", f"timeout_s is not a number: {text[:40]!r}") from None
    return options
