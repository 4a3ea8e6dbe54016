"""From a request to a message for the runner, and from an ended command to its verdict.

The API and the command line both use it; it knows nothing of HTTP.
"""

import functools
import math
import os
import re
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from agent_router.catalogue.manifest import Manifest
from agent_router.catalogue.registry import Registry
from agent_router.commands import batch, end_of_service, execspec, full_state, parameters, scrub
from agent_router.commands.calls import Answer, Batch, Call, Translate, Translated
from agent_router.commands.verdict import Ended, Verdict, command_object, judge, shown_as
from agent_router.config.environment import search_path
from agent_router.config.settings import Settings
from agent_router.ipc.messages import End, Record, Run
from agent_router.ipc.spool import LARGE, Spooled, store
from agent_router.ipc.state import command_dir, open_file, tail
from agent_router.plugin import devices
from agent_router.plugin.masking import mask_end, masker
from agent_router.schema import annotations, longstrings
from agent_router.schema.jsontext import dumps, pieces
from agent_router.schema.problems import RequestError
from agent_router.schema.validation import QUICK, TakesLong

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
REMEMBERED = 512
MAX_SECRETS = 20_000
LOOP_BYTES = 128 << 10  # more output is not judged in haste


class Dispatcher:
    """Prepares calls and judges their ends. Holds no state that could not be made anew."""

    def __init__(self, settings: Settings, started_at: float = 0, translate: Translate | None = None) -> None:
        self.settings = settings
        self._translate = translate
        self.started_at = started_at or time.time()
        self.closed = False  # a plugin whose manifest `closes` has succeeded: what else comes is refused
        self.registry = Registry(settings.plugin_dirs(), settings.schema_dirs(), search_path())
        self.used: OrderedDict[str, tuple[Manifest, list[str]]] = OrderedDict()

    # ---- before

    def prepare(
        self,
        name: str,
        params: Any,
        *,
        text: bytes | Spooled | None = None,
        id: str = "",
        action: str = "run",
        timeout_s: float | None = None,
        hasty: int = 0,
    ) -> Call:
        """Check one request completely; RequestError holds every problem with its JSON path.

        `text` is `params` as the client wrote it; the plugin gets it unchanged. `hasty` is the size of a request
        whose sender may not keep others waiting: TakesLong, if its check might.
        """
        shown, lock = None, ""
        meant = self._translate(self.registry, name, params) if self._translate is not None else None
        if isinstance(meant, Answer):
            return self._answer(name, meant, id)
        if isinstance(meant, Translated):
            name, params, shown, lock, text = meant.name, meant.params, meant.shown, meant.lock, None
        path, manifest = self._usable(name, action)
        if hasty and isinstance(meant, Batch):
            raise TakesLong
        request, hidden = _completed(name, manifest, params, hasty)
        if isinstance(meant, Batch):
            text, found = batch.prepared(self.prepare, meant)
            hidden += found
        head = self._head(name, path, manifest, request)
        head |= {"id": _id(id), "action": action, "timeout_s": _timeout(manifest, timeout_s)}
        if id:
            head["again"] = True
        if shown is not None:
            head |= {"shown": shown, "locks": [*head["locks"], lock]}
        self._guard(head, manifest, request)
        self._remember(head["id"], manifest, hidden)
        stdin = self._stdin(manifest, request, text if request is params else None)
        return _call(head, stdin, hidden)

    def _stdin(self, manifest: Manifest, request: Any, text: bytes | Spooled | None) -> bytes | Spooled:
        if manifest.exec and manifest.exec.get("stdin", "none") == "none":
            return b""
        try:
            if text is None and longstrings.any_in(request):
                file = Spooled(self.settings.state)
                for part in pieces(request):
                    file.write(part)
                return file
            data = dumps(request) if text is None else text
            return data if isinstance(data, Spooled) or len(data) <= LARGE else store(self.settings.state, data)
        except OSError as error:
            why = f"The request does not fit in the state directory: {error.strerror}"
            raise RequestError(503, "state_full", why) from None

    def _usable(self, name: str, action: str) -> tuple[str, Manifest]:
        method = self.registry.find(name)
        manifest = method.usable()
        if self.closed and not manifest.closes:  # the one that did so may be repeated by who lost its answer
            raise RequestError(503, "closing", "The agent is about to stop serving, for the rest of this boot")
        if action != "run" and action not in manifest.supports:
            raise RequestError(400, "action_unsupported", f"{name} does not support {action}")
        return method.executables[0], manifest

    def _answer(self, name: str, answer: Answer, id: str) -> Call:
        """A command that is over before it began; the runner only remembers it."""
        call_id, now = _id(id), time.time()
        ended = Ended(call_id, name, "done", 0, "", now, now, None, [], b"")
        head: Record = {"op": "record", "id": call_id, "name": name}
        if id:
            head["again"] = True
        return Call(call_id, head, command_object(ended, Verdict(result=answer.result, status=answer.status)))

    def _head(self, name: str, path: str, manifest: Manifest, request: dict[str, Any]) -> Run:
        argv = [path]
        if manifest.exec is not None:
            argv += execspec.argv(manifest.exec, request, manifest.data["request"])
        head: Run = {
            "op": "run", "id": "", "name": name, "argv": argv, "at": time.time(), "action": "run", "timeout_s": 0,
            "params": parameters.param_variables(manifest, request),
            "locks": parameters.locks(manifest.locks, request), "grace_s": manifest.grace_s,
            "out_limit": manifest.output_limit, "log_limit": manifest.log_limit,
        }  # fmt: skip
        if manifest.exec is not None:
            head["exec"] = True
        if not manifest.abortable:
            head["abortable"] = False
        if manifest.data.get("synchronous"):
            head["wait"] = True
        if "cleanup" in manifest.supports:
            head["cleanup"] = True
        return head

    def _guard(self, head: Run, manifest: Manifest, request: dict[str, Any]) -> None:
        """A plan locks nothing; a run may touch allowed devices only."""
        if head["action"] != "run":
            head["locks"] = []
        elif refusal := self._device_refusal(manifest, request):
            head["refused"] = refusal

    def _device_refusal(self, manifest: Manifest, request: dict[str, Any]) -> str:
        if not manifest.has_devices:
            return ""
        found = annotations.marked(manifest.request.schema, request, "format", "block-device")
        reasons = (devices.refusal(device, self.settings.devices) for device in found if isinstance(device, str))
        return next(filter(None, reasons), "")

    # ---- after

    def judge(self, head: End, out: bytes) -> bytes:
        """The finished command object for an ended command of the runner, which printed `out`."""
        return self.verdict(head, out, *self.recall(head))

    def verdict(
        self, head: End, out: bytes, manifest: Manifest | None, hidden: list[str], hasty: bool = False
    ) -> bytes:
        """The same with what recall() gives; with `hasty`, TakesLong if it might keep others waiting."""
        base = command_dir(self.settings.state, head["id"])
        if hasty and not self._is_quick(head, out, manifest, hidden):
            raise TakesLong
        if hidden:  # first: what is cut out of them for the verdict must not begin or end within a secret
            scrub.files(base, hidden)
        ended = _ended(head, out)
        ended.hide = functools.partial(mask_end, hidden=hidden) if hidden else ended.hide
        if ended.reason != "done" or ended.status:
            ended.log_tail = tail(base + "/log")
        try:
            verdict = judge(ended, manifest, hasty)
            if manifest is not None and manifest.closes and verdict.error is None:
                end_of_service.close(self.settings.state, end_of_service.Closed(manifest.closes, ended.name))
                self.closed = True
        except TakesLong:
            raise
        except Exception as error:  # a defect of ours must not leave the command without an end
            text = f"the agent failed to judge it: {type(error).__name__}: {error}"
            verdict = Verdict(error={"type": "AgentDefect", "code": 500, "message": text, "details": text})
        full_state.explain(verdict, self.settings.state)
        if ended.shown is not None:
            verdict = shown_as(ended.shown, verdict)
        if hidden:
            verdict = Verdict(
                result=annotations.mask_value(verdict.result, hidden),
                error=annotations.mask_value(verdict.error, hidden),
                warnings=annotations.mask_value(verdict.warnings, hidden),
                status=verdict.status,
            )
            ended.warnings = annotations.mask_value(ended.warnings, hidden)
        return command_object(ended, verdict)

    def _is_quick(self, head: End, out: bytes, manifest: Manifest | None, hidden: list[str]) -> bool:
        """Whether nobody notices how long the verdict takes, provided that the answer is valid."""
        if len(out) > LOOP_BYTES or head["again"]:  # a front may have died of it
            return False
        if hidden:
            text = len(out) + self.files_size(head["id"]) + sum(map(len, head["warnings"]))
            if text * len(hidden) > QUICK:
                return False
        if manifest is None:
            return True
        spec = manifest.exec or {}
        if spec.get("stdout", "json") not in ("json", "none", "raw", "lines") or "message" in spec:
            return False
        return all(one is None or one.is_quick(len(out)) for one in (manifest.response, manifest.success))

    def unjudged(self, head: End, hidden: list[str], kind: str, why: str) -> bytes:
        """The finished command object of a command whose output could not be checked."""
        slow = kind == "CheckTooSlow"
        text = f"its output could not be checked: that {'' if slow else 'twice '}{why}"
        if slow:
            text += "; simplify pattern, exec.regex, anyOf, oneOf or uniqueItems in its manifest, or print less"
        ended = _ended(head, b"")
        if hidden:
            scrub.empty(command_dir(self.settings.state, ended.id))
            ended.warnings = []
            text += " (its log and warnings are dropped: they may hold secrets)"
        return command_object(ended, Verdict(error={"type": kind, "code": 500, "message": text, "details": text}))

    def files_size(self, id: str) -> int:
        """Bytes of a command's files in which secrets are masked."""
        return scrub.size(command_dir(self.settings.state, id))

    def _remember(self, id: str, manifest: Manifest, hidden: list[str]) -> None:
        self.used[id] = manifest, hidden
        if len(self.used) > REMEMBERED:
            self.used.popitem(last=False)

    def adopt(self, used: Iterable[tuple[str, tuple[Manifest, list[str]]]], closed: bool) -> None:
        """Know what another process of the agent knows since it worked for this one."""
        for id, (manifest, hidden) in used:
            self._remember(id, manifest, hidden)
        self.closed = self.closed or closed

    def recall(self, head: End) -> tuple[Manifest | None, list[str]]:
        """Manifest and secrets of a command: the ones it was started with, if this process knows them."""
        known = self.used.pop(head["id"], None)
        if known:
            return known
        hidden = self.secrets_of(head["id"])
        try:
            return self.registry.find(head["name"]).manifest, hidden
        except RequestError:
            return None, hidden

    def secrets_of(self, id: str) -> list[str]:
        """The secrets in the request of a command whose directory still exists."""
        import json

        try:
            with open(open_file(command_dir(self.settings.state, id) + "/secrets")) as file:
                found = json.load(file)
        except (OSError, ValueError, RecursionError):
            return []
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _ended(head: End, out: bytes) -> Ended:
    return Ended(
        head["id"],
        head["name"],
        head["reason"],
        head["status"],
        head["message"],
        head["started_at"],
        head["ended_at"],
        head["progress"],
        head["warnings"],
        out,
        events_bad=head["events_bad"],
        timeout_s=head["timeout_s"],
        shown=head.get("shown"),
    )


def _call(head: Run, stdin: bytes | Spooled, hidden: list[str]) -> Call:
    body = b""
    if hidden:  # in the body, because the head is journalled
        body = dumps(hidden)
        head["secrets"] = len(body)
    if isinstance(stdin, Spooled):
        return Call(head["id"], head, body, stdin)
    return Call(head["id"], head, body + stdin)


def _id(given: str) -> str:
    if given and not ID.fullmatch(given):
        raise RequestError(400, "id_invalid", "id must be 1 to 64 letters, digits, - and _")
    return given or str(uuid.UUID(bytes=os.urandom(16), version=4))


def _completed(name: str, manifest: Manifest, params: Any, hasty: int) -> tuple[dict[str, Any], list[str]]:
    """(the request with its defaults, its secrets); raises as _validated() does."""
    hidden = _validated(name, manifest, params, hasty)
    request = parameters.with_defaults(manifest.data["request"], params)
    if request is not params:  # each default is right by itself, but may not go with what was sent
        _validated(f"{name} with its defaults", manifest, request, hasty)
    return request, hidden


def _validated(name: str, manifest: Manifest, params: Any, hasty: int) -> list[str]:
    """The secrets of a valid request; RequestError for another one, TakesLong as prepare() says."""
    if hasty and not manifest.request.is_quick(hasty):
        raise TakesLong

    def secrets(longest: int) -> list[str]:
        return annotations.secrets(manifest.request.schema, params, longest) if manifest.has_secrets else []

    @functools.cache  # of a valid request nobody asks
    def hide() -> Callable[[str], str]:
        return masker(secrets(sys.maxsize))  # of any size: even the beginning of a config drive is not to be repeated

    if problems := manifest.request.problems(params, lambda text: hide()(text), hasty > 0):
        named = "; ".join(map(str, problems[:3])) + (" …" if len(problems) > 3 else "")
        raise RequestError(400, "request_invalid", f"{name}: {named}", problems)
    found = secrets(max(manifest.output_limit, manifest.log_limit))
    if len(found) > MAX_SECRETS:
        text = f"{name}: the request holds {len(found)} secrets, counting the lines of each; send at most {MAX_SECRETS}"
        raise RequestError(422, "secrets_too_many", text)
    return found


def _timeout(manifest: Manifest, asked: float | None) -> float:
    if asked is None:
        return manifest.timeout_s
    if not math.isfinite(asked) or asked <= 0:
        raise RequestError(400, "timeout_invalid", "timeout_s must be a number of seconds above 0")
    return min(asked, manifest.timeout_s)  # a request may shorten it, never lengthen it
