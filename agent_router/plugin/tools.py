"""Call a system tool from a plugin; a failure names the tool and quotes its last line."""

from collections.abc import Iterable

from agent_router.plugin.errors import Failed

MAX_STDERR = 4000  # characters


def tool(
    name: str, *args: object, stdin: str | bytes = "", ok: Iterable[int] = (0,), timeout_s: float | None = None
) -> str:
    """Run `name` with `args` and return its stdout as text.

    An exit status outside `ok` raises Failed("tool_failed") with the last line of stderr; exceeding `timeout_s` raises
    Failed("tool_slow"), and a tool that is not installed Failed("tool_missing").
    """
    import sh  # 50 ms of CPU: only plugins that call a tool pay for it

    try:
        command = sh.Command(name)
    except sh.CommandNotFound:
        raise Failed("tool_missing", f"{name} is not installed in this ramdisk") from None
    try:
        # With a terminal (the default of sh), tools would colour and page their output.
        done = command(
            *map(str, args), _in=stdin, _tty_out=False, _ok_code=list(ok), _return_cmd=True, _timeout=timeout_s
        )
    except sh.TimeoutException:
        raise Failed("tool_slow", f"{name} did not finish within {timeout_s:g} s") from None
    except sh.ErrorReturnCode as error:
        raise Failed("tool_failed", _sentence(name, error), details=_details(error)) from None
    return bytes(done.stdout).decode(errors="replace")


def _sentence(name: str, error: object) -> str:
    text = bytes(getattr(error, "stderr", b"") or getattr(error, "stdout", b"")).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    status = getattr(error, "exit_code", None)
    return f"{name} exited with status {status}: {lines[-1] if lines else 'no message'}"


def _details(error: object) -> dict[str, object]:
    return {
        "command": getattr(error, "full_cmd", ""),
        "exit_status": getattr(error, "exit_code", None),
        "stderr": _last_lines(bytes(getattr(error, "stderr", b"")).decode(errors="replace")),
    }


def _last_lines(text: str) -> str:
    """Whole lines: half a line might begin within a secret, which the agent would not find any more."""
    if len(text) <= MAX_STDERR:
        return text
    return text[-MAX_STDERR - 1 :].partition("\n")[2]
