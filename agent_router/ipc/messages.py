"""Every message between the runner and those who talk to it: one TypedDict each, tagged by `op` or `state`.

A message is the JSON head of a frame (frames.py); what its body holds stands beside it. `n` numbers a request of
one connection and comes back with the answer. A head with `again` repeats a request after a lost connection.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class ResultShape(TypedDict):
    """Under which name and in which shape the caller of a plugin sees it.

    The result is {`key`: the part of the plugin's response at the JSON pointer `pointer`, **`beside`}.
    """

    name: str
    key: str
    beside: dict[str, Any]
    pointer: str


# ---- requests


class Run(TypedDict):
    """Start a command, or join the one of the same id. Body: `secrets` bytes, a JSON list; then the plugin's stdin."""

    op: Literal["run"]
    n: NotRequired[int]
    again: NotRequired[bool]
    wait: NotRequired[bool]  # answer when it has ended
    id: str
    name: str
    argv: list[str]
    at: float  # Unix time of the request
    action: str  # run or plan
    timeout_s: float
    params: dict[str, str]  # PARAM_… variables
    locks: list[str]
    grace_s: float
    out_limit: int
    log_limit: int
    exec: NotRequired[bool]  # an unmodified program: never run in the warm interpreter
    abortable: NotRequired[bool]  # False: cancel is refused
    cleanup: NotRequired[bool]
    secrets: NotRequired[int]
    stdin: NotRequired[str]  # a large stdin: the path of a file that from now on is the runner's, see spool.py
    refused: NotRequired[str]  # the reason why it must not be started
    shown: NotRequired[ResultShape]


class Record(TypedDict):
    """Remember a command that needed no plugin. Body: its finished command object."""

    op: Literal["record"]
    n: NotRequired[int]
    again: NotRequired[bool]
    wait: NotRequired[bool]
    id: str
    name: str


class Get(TypedDict):
    op: Literal["get"]
    n: NotRequired[int]
    again: NotRequired[bool]
    wait: NotRequired[bool]
    id: str


class Cancel(TypedDict):
    op: Literal["cancel"]
    n: NotRequired[int]
    again: NotRequired[bool]
    id: str


class ListCommands(TypedDict):
    op: Literal["list"]
    n: NotRequired[int]
    again: NotRequired[bool]


class Ping(TypedDict):
    op: Literal["ping"]
    n: NotRequired[int]
    again: NotRequired[bool]


class Judge(TypedDict):
    """Whoever sends it gets an End for every command without a verdict, from now on."""

    op: Literal["judge"]


class Judged(TypedDict):
    """The verdict on an End. Body: the finished command object."""

    op: Literal["judged"]
    id: str


class Job(TypedDict):
    """To the judge process and back. Body: what is to be done, or what came of it, pickled."""

    op: Literal["job"]


Question = Run | Record | Get | Cancel | ListCommands | Ping
Request = Question | Judge | Judged


# ---- answers


class Summary(TypedDict):
    """What is known of a command before its verdict."""

    id: str
    name: str
    phase: str
    started_at: float
    progress: dict[str, Any] | None
    warnings: list[str]
    critical: bool
    shown: NotRequired[ResultShape]


class Running(Summary):
    op: str
    n: int | None
    state: Literal["running"]


class Ended(TypedDict):
    """Body: the finished command object."""

    op: str
    n: int | None
    id: str
    state: Literal["ended"]


class Unknown(TypedDict):
    op: str
    n: int | None
    id: str
    state: Literal["unknown"]


class OtherMethod(TypedDict):
    """The id belongs to a command of another method."""

    op: str
    n: int | None
    id: str
    state: Literal["other"]


class Busy(TypedDict):
    """A running command holds a lock: `by` is its name, `holder` its id."""

    op: str
    n: int | None
    id: str
    state: Literal["busy"]
    by: str
    holder: str


class Cancelling(TypedDict):
    op: str
    n: int | None
    id: str
    state: Literal["cancelling"]


class NotCancellable(TypedDict):
    op: str
    n: int | None
    id: str
    state: Literal["refused"]
    message: str


class HistoryPlace(TypedDict):
    """The finished commands: the first `size` bytes of a file with that inode, and what found no room in it."""

    path: str
    size: int
    generation: int
    late: list[str]


class Listing(TypedDict):
    op: Literal["list"]
    n: int | None
    running: list[Summary]
    history: HistoryPlace


class Pong(TypedDict):
    op: Literal["ping"]
    n: int | None
    pid: int
    live: int  # commands whose process is not gone


CommandAnswer = Running | Ended | Unknown | OtherMethod | Busy
CancelAnswer = Cancelling | NotCancellable | Ended | Unknown


class End(Summary):
    """A command ended and has no verdict yet. Body: what it printed."""

    op: Literal["end"]
    again: bool  # it was handed out before, to a front that did not live to tell the verdict
    reason: str  # reasons.py
    status: int | None
    message: str
    ended_at: float
    events_bad: int
    timeout_s: float


Message = Request | Job | CommandAnswer | CancelAnswer | Listing | Pong | End
