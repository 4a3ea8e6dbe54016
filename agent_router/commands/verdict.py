"""The verdict on an ended command: a pure function of (why it ended, status, output, log, manifest).

The runner keeps bytes; this decides what they mean, by the outcome table of
docs/plugin-protocol.md, and makes the command object that clients and Ironic read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent_router.catalogue.manifest import Manifest
from agent_router.commands import execspec
from agent_router.commands.progress import progress_text
from agent_router.ipc.messages import ResultShape
from agent_router.schema.jsontext import BadJSON, dumps, parse
from agent_router.schema.pointer import resolve
from agent_router.schema.problems import Problem

BY_STATUS = {64: ("InvalidRequest", 400), 69: ("Incompatible", 501), 75: ("Retry", 503), 77: ("Refused", 403)}
BY_OUTCOME = {"invalid": 64, "incompatible": 69, "retry": 75, "refused": 77, "failed": 1}
EXCERPT = 500
SHOWN = 60  # characters of a text that is quoted in a sentence
PLACE = re.compile(r"at line (\d+) column (\d+)")
FAILED_LINE = re.compile(r"<3>((?:\S+, )?line \d+: .*)")

BY_REASON = {
    "timeout": ("Timeout", 504, "it did not finish within {timeout_s:g} s"),
    "cancelled": ("Cancelled", 409, "it was cancelled"),
    "output_limit": ("OutputLimit", 500, "it printed more than {output_mib:g} MiB and was killed"),
    "log_limit": ("LogLimit", 500, "it logged more than {log_mib:g} MiB and was killed"),
    "outcome_unknown": ("OutcomeUnknown", 500, "the agent died while it ran, and nobody saw how it ended"),
    "not_started": ("NotStarted", 500, "it was not started: {message}"),
    "stuck": ("Stuck", 500, "it hangs in the kernel and survived SIGKILL; its locks are kept"),
}  # fmt: skip


@dataclass(slots=True)
class Ended:
    """What the runner knows about an ended command, with the tail of its log."""

    id: str
    name: str
    reason: str
    status: int | None
    message: str
    started_at: float
    ended_at: float
    progress: dict[str, Any] | None
    warnings: list[str]
    out: bytes
    log_tail: bytes = b""
    events_bad: int = 0
    timeout_s: float = 0
    shown: ResultShape | None = None
    hide: Callable[[str], str] = str  # masks secrets in what is about to be cut


@dataclass(slots=True)
class Verdict:
    result: Any = None
    raw: bytes = b""
    error: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    status: str = ""  # another one than the error tells


def judge(ended: Ended, manifest: Manifest | None, hasty: bool = False) -> Verdict:
    """Decide; `manifest` is None if it has disappeared meanwhile. With `hasty`, TakesLong if the answer is wrong."""
    if ended.reason == "refused":
        return _failure("Refused", 403, ended.message)
    if ended.reason != "done":
        return _by_reason(ended, manifest)
    if manifest is None:
        return _failure("NoManifest", 500, "its manifest was removed while it ran; the answer cannot be checked")
    if manifest.exec is not None:
        return _judge_exec(ended, manifest, manifest.exec, hasty)
    if ended.status == 0:
        return _judge_answer(ended, manifest, lambda: parse(ended.out), hasty, raw=ended.out.strip())
    return _by_status(ended, ended.status or 0)


def _judge_answer(
    ended: Ended, manifest: Manifest, read: Callable[[], Any], hasty: bool, raw: bytes = b"", patch: Any = None
) -> Verdict:
    if not ended.out.strip() and (manifest.exec or {}).get("stdout", "json") == "json":
        return _failure("NoResponse", 500, "it ended with 0 but printed no response", _excerpt(ended))
    try:
        answer = read()
    except (BadJSON, ValueError) as error:
        text = f"its output is not one JSON value: {error}{_what_stands_there(ended, str(error))}"
        return _failure("InvalidJSON", 500, text, _excerpt(ended))
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict) and "message" in answer["error"]:
        return _error_object(ended, answer, "PluginFailed", 500, "")
    success = manifest.success
    if success is not None and (problems := success.problems(answer, ended.hide, hasty)):
        return _failure("PluginFailed", 500, f"its output tells of a failure: {problems[0]}", _excerpt(ended))
    if patch is not None and isinstance(answer, dict):
        answer, raw = {**answer, **patch}, b""
    problems = manifest.response.problems(answer, ended.hide, hasty)
    if problems:
        text = f"its response breaks its own schema: {problems[0]}"
        return _failure("InvalidResponse", 500, text, _problem_list(problems))
    return Verdict(result=answer, raw=raw)


def _judge_exec(ended: Ended, manifest: Manifest, spec: dict[str, Any], hasty: bool) -> Verdict:
    status = ended.status or 0
    meaning = execspec.outcome(spec, status) if status >= 0 else "failed"
    if meaning in BY_OUTCOME:
        words = execspec.failure_message(spec, ended.out)
        return _by_status(ended, status if status < 0 else BY_OUTCOME[meaning], shown=status, words=words)
    patch = {"ok+reboot": {"reboot": True}, "unchanged": {"changed": False}}.get(meaning)
    verdict = _judge_answer(ended, manifest, lambda: execspec.response(spec, ended.out), hasty, patch=patch)
    if meaning == "partial" and verdict.error is None:
        verdict.warnings.append(f"only partly done: exit status {status}")
    return verdict


def _by_status(ended: Ended, status: int, shown: int | None = None, words: str = "") -> Verdict:
    """A non-zero status: the error object on stdout, else the end of the log, else the output."""
    type, code = BY_STATUS.get(status, ("PluginFailed", 500))
    shown = status if shown is None else shown
    how = f"exit status {shown}" if shown >= 0 else f"signal {_signal_name(-shown)}"
    if shown < 0:
        type = "KilledBySignal"
    try:
        answer = parse(ended.out) if ended.out.strip() else None
    except BadJSON:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return _error_object(ended, answer, type, code, how)
    if words:  # the program's own sentence; its output would only say it again
        return _failure(type, code, f"{words} ({how})")
    log, line = _failed_line(_log(ended))
    words = _last_words(log)
    if line and words in line:
        words, line = line, ""
    words = words or _last_words(_output(ended)[:EXCERPT])
    how = f"{line}; {how}" if line else how
    message = f"{words} ({how})" if words else f"it ended with {how} and said nothing"
    return _failure(type, code, message, _excerpt(ended))


def _error_object(ended: Ended, answer: dict[str, Any], type: str, code: int, how: str) -> Verdict:
    error = answer["error"]
    message = str(error.get("message") or error.get("code") or how)
    details: dict[str, Any] = {"code": error.get("code")}
    if error.get("details"):
        details["details"] = error["details"]
    if answer.get("partial") is not None:
        details["partial"] = answer["partial"]
    return _failure(type, code, message, _log_excerpt(ended), details)  # the output is the error object itself


def _by_reason(ended: Ended, manifest: Manifest | None) -> Verdict:
    type, code, text = BY_REASON.get(ended.reason, ("PluginFailed", 500, ended.reason))
    output, log = (manifest.output_limit, manifest.log_limit) if manifest else (0, 0)
    message = text.format(
        timeout_s=ended.timeout_s, output_mib=output / (1 << 20), log_mib=log / (1 << 20), message=ended.message
    )
    if ended.reason in ("timeout", "cancelled", "stuck"):
        at = progress_text(ended.progress)
        message += f" after {ended.ended_at - ended.started_at:.1f} s" + (f" at {at}" if at else "")
        words = _partial_words(ended)
        message += f": {words}" if words else ""
    return _failure(type, code, message, _excerpt(ended))


def _partial_words(ended: Ended) -> str:
    """What the plugin itself said about being interrupted."""
    try:
        answer = parse(ended.out) if ended.out.strip() else None
    except BadJSON:
        return ""
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return str(answer["error"].get("message", ""))
    return ""


def _failure(type: str, code: int, message: str, details: str = "", extra: dict[str, Any] | None = None) -> Verdict:
    # Ironic shows `details` to its user, so the sentence stands first in it.
    error: dict[str, Any] = {"type": type, "code": code, "message": message}
    error["details"] = f"{message}\n{details}" if details else message
    if extra:
        error["plugin"] = extra
    return Verdict(error=error)


def _excerpt(ended: Ended) -> str:
    output = _output(ended)[:EXCERPT].strip()
    return "\n".join(filter(None, (_log_excerpt(ended), output and f"output: {output}")))


def _log_excerpt(ended: Ended) -> str:
    log = _log(ended)[-EXCERPT:].strip()
    return log and f"log: {log}"


def _output(ended: Ended) -> str:
    """As text, at least an excerpt of it, without secrets."""
    out = ended.out if ended.hide is not str else ended.out[: 4 * EXCERPT]
    return ended.hide(out.decode(errors="replace"))


def _log(ended: Ended) -> str:
    return ended.hide(ended.log_tail.decode(errors="replace"))


def _problem_list(problems: list[Problem]) -> str:
    return "\n".join(map(str, problems))


def _what_stands_there(ended: Ended, error: str) -> str:
    """The text at the place that the error names: a banner before the JSON, a second value after it."""
    place = PLACE.search(error)
    lines = ended.out.decode(errors="replace").split("\n")
    if place is None or int(place[1]) > len(lines):
        return ""
    found = ended.hide(lines[int(place[1]) - 1][int(place[2]) - 1 :]).strip()[:SHOWN]
    return found and f", where {found!r} stands; what is no response belongs on standard error"


def _failed_line(log: str) -> tuple[str, str]:
    """What plugin.sh says at the end of the log when a command ends the plugin, and the log before that.

    It may say it several times, for a command in a subshell first. What a tool itself said of its failure stands
    before, if anything: lines that a plugin marked as information do not count as such.
    """
    lines = log.rstrip().split("\n")
    where = ""
    while lines and (found := FAILED_LINE.fullmatch(lines[-1].strip())):
        where = found[1]
        del lines[-1]
    if where:
        lines = [line for line in lines if not line.startswith(("<5>", "<6>", "<7>"))]
    return "\n".join(lines), where


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][3 if lines[-1][:1] == "<" and lines[-1][2:3] == ">" else 0 :][:EXCERPT] if lines else ""


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def command_object(ended: Ended, verdict: Verdict) -> bytes:
    """The finished command as Ironic's command result object (and a few keys more), one line of JSON."""
    head: dict[str, Any] = {
        "id": ended.id,
        "started_at": round(ended.started_at, 6),  # second, so that a listing can be sorted without parsing
        "command_name": short_name(ended.shown["name"] if ended.shown else ended.name),
        "command_status": verdict.status or ("FAILED" if verdict.error else "SUCCEEDED"),
        "command_error": verdict.error,
        "name": ended.name,
        "ended_at": round(ended.ended_at, 6),
    }
    warnings = ended.warnings + verdict.warnings
    if warnings:
        head["warnings"] = warnings
    if ended.events_bad:
        head["events_dropped"] = ended.events_bad
    # The plugin's own bytes are spliced in: nothing is parsed and written twice. A line break
    # can only be white space between tokens there.
    result = b"null" if verdict.error else (verdict.raw.replace(b"\n", b" ") or dumps(verdict.result))
    return dumps(head)[:-1] + b',"command_result":' + result + b"}"


def shown_as(shown: ResultShape, verdict: Verdict) -> Verdict:
    """The verdict in the shape that the caller's vocabulary wants (see messages.ResultShape)."""
    if verdict.error is not None:
        return verdict
    result = resolve(parse(verdict.raw) if verdict.raw else verdict.result, shown["pointer"])
    return Verdict(result={shown["key"]: result, **shown["beside"]}, warnings=verdict.warnings)


def short_name(name: str) -> str:
    """Ironic's command name: the part after the first dot."""
    return name.partition(".")[2] or name
