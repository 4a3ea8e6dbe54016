"""How a plugin says that it failed: one exception, one exit status per kind."""

from typing import Any


class Failed(Exception):
    """The work failed; `code` is a fact in snake_case, `message` a sentence for a person.

    `details` is any JSON object that helps to understand the failure, `partial` what was
    done before it. The exit status is 1.
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
    """The request is well formed but cannot be meant (EX_USAGE of sysexits.h, 64)."""

    exit_status = 64


class Incompatible(Failed):
    """This is not the hardware the plugin is for (EX_UNAVAILABLE, 69)."""

    exit_status = 69


class Retry(Failed):
    """Nothing is wrong with the request; it may work later (EX_TEMPFAIL, 75)."""

    exit_status = 75


class Refused(Failed):
    """Refused for safety: mounted, protected, in use (EX_NOPERM, 77)."""

    exit_status = 77
