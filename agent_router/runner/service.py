"""The runner: takes messages of the fronts, owns the table of commands, answers.

Messages (head of a frame, see wire):

    run     id, name, argv, env, …: start a command, or join the one of that id; wait: answer at its end
    record  id, name, body = the finished command object of a command that needed no plugin
    get     id, wait           cancel  id        list        ping
    judge   this connection wants every ended command, to give its verdict
    judged  id, body = the finished command object, to be remembered and answered to all who wait
"""

import json
import os
import socket

from agent_router.ipc import reasons
from agent_router.ipc.connection import Connection
from agent_router.ipc.loop import Loop
from agent_router.ipc.messages import (
    Cancel,
    CancelAnswer,
    End,
    Get,
    Listing,
    Record,
    Request,
    Run,
    Running,
    Summary,
)
from agent_router.linux import libc, trees
from agent_router.runner import checks, files, interpreter, peers, recovery, state_files
from agent_router.runner.command import Command
from agent_router.runner.execution import Execution
from agent_router.runner.history import History
from agent_router.runner.journal import Journal
from agent_router.runner.locks import Locks
from agent_router.runner.place import Place

MAX_KEPT_LOGS, MAX_KEPT_BYTES = 500, 64 << 20
HOUSEKEEPING_S = 2.0


class Runner:
    def __init__(self, state: str, keep: int, environ: dict[str, str], parent: int) -> None:
        os.umask(0o077)
        self.state = state
        self._parent = parent
        self._place = Place(state, parent)  # a second runner waits here until the first is gone
        self.loop = Loop()
        self.journal = Journal(state + "/journal")
        self.history = History(state + "/history", keep)
        self.locks = Locks()
        self.execution = Execution(self.loop, self.journal, state, environ, self._ended)
        self.unjudged: dict[str, Command] = {}
        self._late: dict[str, Command] = {}
        self._judges: list[Connection] = []
        self._connections: set[Connection] = set()
        self._waiters: dict[str, list[Connection]] = {}
        self._kept: list[tuple[str, int]] = []
        self._listener: socket.socket | None = None
        parts = (self.loop, self.journal, self.history, self.locks, self.execution, self.unjudged)
        recovery.recover(recovery.Parts(state, *parts))
        self._kept = recovery.kept_logs(state, set(self.execution.live) | set(self.unjudged))

    def listen(self) -> None:
        if self._listener is not None:
            self.loop.unwatch(self._listener.fileno())
            self._listener.close()
        self._listener = self._place.listen()
        self.loop.watch(self._listener.fileno(), self._accept)

    def serve(self) -> None:
        self._housekeeping()
        while not self._orphaned():
            self.loop.run_once()

    def _orphaned(self) -> bool:
        """The supervisor died: its successor starts a new runner, which waits for us to go.

        Commands without a verdict do not hold us: the new runner finds them in the journal.
        """
        return os.getppid() != self._parent and not self.execution.live

    def _housekeeping(self) -> None:
        self._place.beat()
        self._repair()
        self.history.write_late()
        self.journal.compact_if_large(self._unfinished())
        self.execution.housekeeping()
        self.loop.later(HOUSEKEEPING_S, self._housekeeping)

    def _unfinished(self) -> list[Command]:
        return [*self.execution.live.values(), *self.unjudged.values(), *self._late.values()]

    def _repair(self) -> None:
        """Somebody emptied the state directory: what is in our memory is written down again."""
        lost = self._place.lost(journal=self.journal.fd, history=self.history.fd)
        if not lost:
            return
        try:
            self._place.restore()
            if "journal" in lost:
                self.journal.compact(self._unfinished())
            if "history" in lost:
                self.history.write_anew()
            if "runner.sock" in lost:
                self.listen()
        except OSError as error:
            print(f"<3>runner: {', '.join(lost)} is gone from {self.state} and cannot be made: {error}", flush=True)
            return
        made = f"{', '.join(lost)} had gone from {self.state} while the agent ran, and was made again"
        state_files.tell(self.state, f"{made}; logs and events of earlier commands may be lost")

    # ---- messages

    def _accept(self, _: int) -> None:
        assert self._listener is not None
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            self._connections.add(Connection(self.loop, sock, self._message, self._closed))

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._judges:
            self._judges.remove(connection)
        for waiting in self._waiters.values():
            while connection in waiting:
                waiting.remove(connection)

    def _message(self, connection: Connection, text: bytes, body: bytes) -> None:
        try:
            self._hear(connection, checks.message(json.loads(text)), text, body)
        except (ValueError, RecursionError) as error:
            print(f"<4>runner: a process sent what is no message of the agent: {error}", flush=True)
            connection.close()

    def _hear(self, connection: Connection, message: Request, text: bytes, body: bytes) -> None:
        if message["op"] == "run":
            self._run(connection, message, text, body)
        elif message["op"] == "record":
            self._record(connection, message, body)
        elif message["op"] == "judged":
            self._judged(connection, message["id"], body)
        elif message["op"] == "get":
            self._get(connection, message)
        elif message["op"] == "list":
            listing: Listing = {
                "op": "list",
                "n": message.get("n"),
                "running": self._running(),
                "history": self.history.place(),
            }
            connection.send(listing)
        elif message["op"] == "cancel":
            connection.send(self._cancel(message))
        elif message["op"] == "judge":
            self._appoint(connection)
        elif message["op"] == "ping":
            live = len(self.execution.live)
            connection.send({"op": "ping", "n": message.get("n"), "pid": os.getpid(), "live": live})

    def _running(self) -> list[Summary]:
        """Commands without a verdict, oldest first; a stuck one has its verdict but is still live."""
        commands = {**self.execution.live, **self.unjudged}.values()
        return [command.summary() for command in commands if command.running or command.id in self.unjudged]

    def _run(self, connection: Connection, head: Run, text: bytes, body: bytes) -> None:
        id = head["id"]
        if os.path.dirname(head.get("stdin", "")) not in ("", self.state + "/spool"):
            raise ValueError("its stdin is not in the spool")
        if head.get("again") and self._join(connection, head):
            files.forget(head.get("stdin", ""))
            return
        holder = self.locks.holder(head["locks"])
        if holder is not None:
            files.forget(head.get("stdin", ""))
            by, n = holder.shown_name, head.get("n")
            connection.send({"op": "run", "n": n, "id": id, "state": "busy", "by": by, "holder": holder.id})
            return
        command = Command(head, text)
        if head.get("wait"):
            self._waiters.setdefault(id, []).append(connection)
        self.journal.begin(command)
        if "refused" in head:
            files.forget(head.get("stdin", ""))
            self.execution.live[id] = command
            command.status = 77
            self.execution.finish(command, reasons.REFUSED, head["refused"])
        else:
            self.locks.take(command)
            self.execution.start(command, body)
        if not head.get("wait"):
            connection.send(_running(head, command))

    def _record(self, connection: Connection, head: Record, body: bytes) -> None:
        if head.get("again") and self._join(connection, head):
            return
        if not checks.is_record(body, head["id"]):
            raise ValueError("its body is no finished command")
        self.history.append(body)
        connection.send({"op": "record", "n": head.get("n"), "id": head["id"], "state": "ended"}, body)

    def _join(self, connection: Connection, head: Run | Record) -> bool:
        """Whether a command of this id exists: then the repeated request gets its answer."""
        known = self.execution.live.get(head["id"]) or self.unjudged.get(head["id"])
        record = None if known else self.history.find(head["id"])
        if not known and record is None:
            return False
        same = known.name == head["name"] if known else b'"name":"%s"' % head["name"].encode() in (record or b"")
        if not same:
            connection.send({"op": head["op"], "n": head.get("n"), "id": head["id"], "state": "other"})
        else:
            self._get(connection, head)
        return True

    def _get(self, connection: Connection, head: Run | Record | Get) -> None:
        id = head["id"]
        command = self.execution.live.get(id) or self.unjudged.get(id)
        record = None
        if command is None or command.reason == reasons.STUCK:
            record = self.history.find(id)
        if record is not None:
            connection.send({"op": head["op"], "n": head.get("n"), "id": id, "state": "ended"}, record)
        elif command is None:
            connection.send({"op": head["op"], "n": head.get("n"), "id": id, "state": "unknown"})
        elif head.get("wait"):
            self._waiters.setdefault(id, []).append(connection)
        else:
            connection.send(_running(head, command))

    def _cancel(self, head: Cancel) -> CancelAnswer:
        id, n = head["id"], head.get("n")
        command = self.execution.live.get(id)
        if command is None:
            known = id in self.unjudged or self.history.find(id) is not None
            if known:
                return {"op": "cancel", "n": n, "id": id, "state": "ended"}
            return {"op": "cancel", "n": n, "id": id, "state": "unknown"}
        self.execution.look(command)
        why = ""
        if command.phase == "stuck":
            why = "its process does not react to SIGKILL (it hangs in the kernel)"
        elif command.critical:
            why = "it is in a critical section; try again when that is over"
        elif not command.head.get("abortable", True):
            why = "its manifest says that it must not be interrupted"
        if why:
            return {"op": "cancel", "n": n, "id": id, "state": "refused", "message": why}
        self.execution.stop(command, reasons.CANCELLED)
        return {"op": "cancel", "n": n, "id": id, "state": "cancelling"}

    # ---- ends and verdicts

    def _ended(self, command: Command) -> None:
        """Called at the end of a command, and for a stuck one a second time when it is really gone."""
        if command.id not in self.execution.live:
            self.locks.release(command)
        if not command.pushed:
            command.pushed = True
            self.unjudged[command.id] = command
            self._push(command, self._judges)
        elif command.id not in self.unjudged and command.id not in self._late:
            self._close(command)

    def _push(self, command: Command, judges: list[Connection]) -> None:
        """To all who judge: one that is none of ours may never answer. The first verdict counts."""
        for judge in tuple(judges):
            end: End = {
                **command.summary(),
                "op": "end",
                "again": command.handed_out,
                "reason": command.reason,
                "status": command.status,
                "message": command.message,
                "ended_at": command.ended_at,
                "events_bad": command.events_bad,
                "timeout_s": command.head["timeout_s"],
            }
            judge.send(end, command.printed)
        command.handed_out = command.handed_out or bool(judges)

    def _appoint(self, connection: Connection) -> None:
        if not peers.may_judge(connection.peer(), self._parent, self.state):
            raise ValueError("it wants to judge, and is no process of the agent")
        self._judges.append(connection)
        for command in self.unjudged.values():
            self._push(command, [connection])

    def _judged(self, connection: Connection, id: str, record: bytes) -> None:
        if connection not in self._judges:
            raise ValueError("it gives a verdict, and is no judge")
        if not checks.is_record(record, id):
            raise ValueError("its body is no finished command")
        command = self.unjudged.pop(id, None)
        if command is None:
            return
        for waiter in self._waiters.pop(id, ()):
            if waiter is not connection:  # the judge has answered its own clients already
                waiter.send({"op": "get", "n": None, "id": id, "state": "ended"}, record)
        self._late[id] = command
        self.history.append(record, lambda: self._remembered(command))
        if id in self._late and id not in self.execution.live:  # the room that its files take may be enough
            files.close(self.execution.base(command))
            self.history.write_late()

    def _remembered(self, command: Command) -> None:
        """The record is in the file. Before that the journal must not forget the command."""
        del self._late[command.id]
        if command.id not in self.execution.live:
            self._close(command)

    def _close(self, command: Command) -> None:
        self.journal.judged(command)
        base = self.execution.base(command)
        if files.close(base):
            self._kept.append((base, files.size(base)))
            while len(self._kept) > MAX_KEPT_LOGS or sum(size for _, size in self._kept) > MAX_KEPT_BYTES:
                trees.remove(self._kept.pop(0)[0])


def _running(head: Run | Record | Get, command: Command) -> Running:
    return {**command.summary(), "op": head["op"], "n": head.get("n"), "state": "running"}


def run(state: str, keep: int, environ: dict[str, str], parent: int) -> None:
    """The main function of the runner process; returns when it is no longer needed.

    `environ` is the environment of every plugin, before what belongs to its command is added. `parent` is the process
    that started this one; without it there is nothing to do.
    """
    import gc
    import resource

    interpreter.prepare()
    libc.return_large_memory()
    os.environ.clear()  # plugins get a built environment; clearing it here is cheaper than in each fork

    for number in range(4):  # 0 to 3 stay taken: no descriptor of ours equals one of the plugin's
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    import agent_router.plugin  # noqa: F401  (what a warm Python plugin finds imported)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the state directory is memory
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)  # what double-forks out of a plugin stays in sight
    runner = Runner(state, keep, environ, parent)
    runner.listen()
    gc.collect()
    gc.freeze()
    runner.serve()
