"""One command in the runner: what was asked, the process, and how it ended."""

import time
from typing import Any

from agent_router.ipc.loop import Timer
from agent_router.ipc.messages import ResultShape, Run, Summary
from agent_router.runner.written import Written


class Command:
    """State of one command; `reason` is empty while it runs.

    `ending` is the reason decided for a process that is still being stopped. `phase` is
    "running", "terminating" (SIGTERM sent), "killing" (SIGKILL sent), "cleanup" or "stuck".
    """

    __slots__ = (
        "head", "head_text", "id", "name", "pid", "pidfd", "status", "reason", "ending", "phase", "out", "log",
        "events", "watch", "critical", "progress", "warnings", "events_read", "events_bad", "events_tokens",
        "events_refilled", "started_at", "asked_boot", "started_boot", "ended_at", "waiters", "adopted_until",
        "pushed", "handed_out", "message", "stream_seq", "printed", "deadline", "events_tail",
    )  # fmt: skip

    def __init__(self, head: Run, head_text: bytes) -> None:
        self.head = head
        self.head_text = head_text
        self.id: str = head["id"]
        self.name: str = head["name"]
        self.pid = 0
        self.pidfd = -1
        self.status: int | None = None
        self.reason = ""
        self.ending = ""
        self.phase = "running"
        self.out: Written | None = None
        self.log: Written | None = None
        self.events = -1
        self.events_tail = b""
        self.watch = -1
        self.critical = False
        self.progress: dict[str, Any] | None = None
        self.warnings: list[str] = []
        self.events_read = self.events_bad = 0
        self.events_tokens, self.events_refilled = 0.0, 0.0
        self.started_at: float = head.get("at") or time.time()
        self.asked_boot = self.started_boot = 0.0
        self.ended_at = 0.0
        self.waiters: list[int] = []
        self.adopted_until = 0.0
        self.pushed = False
        self.handed_out = False  # a front has got it for its verdict
        self.message = ""
        self.stream_seq = 0
        self.printed = b""
        self.deadline: Timer | None = None

    @property
    def running(self) -> bool:
        return not self.reason

    @property
    def shown_name(self) -> str:
        """The name that its caller knows it by."""
        shown: ResultShape | None = self.head.get("shown")
        return shown["name"] if shown else self.name

    def summary(self) -> Summary:
        """What a reader gets about a command that has not been judged yet."""
        summary: Summary = {
            "id": self.id, "name": self.name, "phase": self.phase, "started_at": self.started_at,
            "progress": self.progress, "warnings": self.warnings, "critical": self.critical,
        }  # fmt: skip
        if "shown" in self.head:
            summary["shown"] = self.head["shown"]
        return summary
