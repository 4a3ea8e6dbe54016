"""How a plugin reports failure: one exception class and exit status per kind."""

from typing import Any


class Failed(Exception):
    """The work failed; `code` is a fact in snake_case, `message` a sentence for people.

    `details` is a JSON object that helps to understand the failure, `partial` what was done before it. The exit status
    is 1.
    """

    exit_status = 1

    def __init__(
        self, code: str, message: str, *, details: dict[str, Any] | None = None, partial: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        self.partial = partial

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.message, "details": self.details}
        return {"error": error} if self.partial is None else {"error": error, "partial": self.partial}


class InvalidRequest(Failed):
    """The request is well-formed but makes no sense (EX_USAGE of sysexits.h, 64)."""

    exit_status = 64


class Incompatible(Failed):
    """The plugin does not support this hardware (EX_UNAVAILABLE, 69)."""

    exit_status = 69


class Retry(Failed):
    """The request is fine and may succeed later (EX_TEMPFAIL, 75)."""

    exit_status = 75


class Refused(Failed):
    """Refused for safety: mounted, protected, in use (EX_NOPERM, 77)."""

    exit_status = 77
