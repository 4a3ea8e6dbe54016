"""One exception for everything a client can do wrong, and its JSON form."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document: `path` is a JSON path such as $.disks[0].size."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def as_json(self) -> dict[str, str]:
        return {"path": self.path, "message": self.message}


class RequestError(Exception):
    """A request that is answered with an HTTP error: `status`, a `code` in snake_case, a sentence."""

    def __init__(self, status: int, code: str, message: str, problems: list[Problem] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.problems = problems or []

    def __reduce__(self) -> tuple[Any, ...]:
        return RequestError, (self.status, self.code, self.message, self.problems)

    def as_json(self) -> dict[str, Any]:
        """The error body: faultcode and faultstring are what Ironic reads (it needs a string there)."""
        return {
            "faultcode": "Client" if self.status < 500 else "Server",
            "faultstring": self.message,
            "code": self.code,
            "message": self.message,
            "problems": [problem.as_json() for problem in self.problems],
        }
