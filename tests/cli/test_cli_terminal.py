"""What a person sees and does: a pseudo terminal, Ctrl-C, the end of the terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import pytest

from tests.support.waiting import HANG_S, wait_for

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo terminal with one command in it."""

    def __init__(self, cli, *args, stdout=None, columns=100):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.process = cli.start(*args, stdin=slave, stdout=stdout or slave, stderr=slave)
        os.close(slave)
        self.seen = b""

    def read(self, until=""):
        """What was written, without colours and cursor movements, up to the end or to `until`."""
        while until not in self.text or not until:
            ready, _, _ = select.select([self.master], [], [], HANG_S)
            assert ready, f"{until!r} did not come: {self.text}"
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the last one who had it open is gone
                break
            self.seen += data
        return self.text

    @property
    def text(self):
        return ESCAPES.sub("", self.seen.decode(errors="replace")).replace("\r\n", "\n")

    def end(self):
        self.read()
        os.close(self.master)
        return self.process.wait(HANG_S)


def test_a_table_of_methods(cli, directories):
    terminal = Terminal(cli, "methods", *directories)
    assert terminal.end() == 0
    lines = terminal.text.splitlines()
    assert lines[0].split() == ["METHOD", "STATE", "EFFECTS", "WHAT", "IT", "DOES,", "OR", "WHY", "IT", "CANNOT"]
    rows = {line.split()[0]: line for line in lines[1:] if line.startswith("demo.")}
    assert re.match(r"demo\.disk +ready +destroy +Test demo\.disk", rows["demo.disk"])
    assert re.match(r"demo\.alone +incomplete +there is ", rows["demo.alone"])
    assert b"\x1b[" in terminal.seen
    assert all(len(line) <= 100 for line in lines)


def test_notices_below_the_table(cli, directories, tmp_path):
    (tmp_path / "notices").mkdir()
    (tmp_path / "notices/plugins.cpio.zst").write_text("The archive cannot be unpacked\n")
    (tmp_path / "agent.toml").write_text(f'notices = "{tmp_path}/notices"\n')
    terminal = Terminal(cli, "methods", f"--config={tmp_path}/agent.toml", *directories)
    assert terminal.end() == 0
    assert re.sub(" +", " ", terminal.text).endswith(
        "\n\nNOTICE WHAT WENT WRONG BEFORE THE AGENT STARTED\nplugins.cpio.zst The archive cannot be unpacked\n"
    )
    assert "NOTICE" not in cli.local("methods").out


def test_tables_of_steps_and_commands(cli, directories, server):
    steps = Terminal(cli, "steps", server.option)
    assert steps.end() == 0
    assert re.search(r"clean +7 +deploy\.demo_step +demo\.plans", steps.text)
    cli("call", "demo.fails", server.option)
    commands = Terminal(cli, "commands", server.option)
    assert commands.end() == 0
    assert re.search(r"demo\.fails +FAILED +\d\d:\d\d:\d\d +\d+\.\d s +the thing", commands.text)
    as_json = Terminal(cli, "commands", "--json", server.option)
    assert as_json.end() == 0
    assert '"command_status"' in as_json.text


def test_an_empty_table_says_so(cli):
    terminal = Terminal(cli, "methods", "--no-bundled", "--plugins=/no/such", "--schemas=/no/such")
    assert (terminal.end(), terminal.text) == (0, "There are no methods.\n")


@pytest.mark.parametrize("where", ["local", "server"])
def test_a_bar_the_log_and_the_result(cli, directories, server, gate, where):
    options = directories if where == "local" else [server.option]
    terminal = Terminal(cli, "call", "demo.works", f"until={gate}", *options)
    terminal.read(until="at step 1")
    gate.release(2)
    terminal.read(until="at step 3")
    gate.release()
    assert terminal.end() == 0
    text = terminal.text
    assert re.search(r"demo\.works \[█{6,24} *\] \d+ % \(\d of 4 steps\), at step \d  \d+ s", text)
    log = [text.index(line) for line in ("step 1\n", "step 2\n", "step 3\n", "step 4\n", "the last line\n")]
    assert log == sorted(log)
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]
    assert lines == ["step 1", "step 2", "step 3", "step 4", "the last line", "warning: one step was slow",
                     "{", '  "steps": 4', "}", ""]  # fmt: skip


def test_the_result_in_a_pipe_and_the_bar_on_the_terminal(cli, directories, gate):
    terminal = Terminal(cli, "call", "demo.works", f"until={gate}", *directories, stdout=subprocess.PIPE)
    terminal.read(until="at step")
    gate.release()
    assert terminal.process.stdout.read() == b'{\n  "steps": 4\n}\n'
    assert terminal.end() == 0


def test_a_narrow_terminal_is_not_overflown(cli, directories, gate):
    terminal = Terminal(cli, "call", "demo.works", f"until={gate}", *directories, columns=30)
    terminal.read(until="demo.works")
    gate.release()
    assert terminal.end() == 0
    assert max(len(part) for part in re.split(r"[\r\n]", terminal.text)) < 30


def test_a_failing_call(cli, directories):
    terminal = Terminal(cli, "call", "demo.fails", *directories)
    assert terminal.end() == 1
    shown = [line.rpartition("\r")[2] for line in terminal.text.split("\n") if line]
    assert shown == ["looking", "tool: it broke", "agent-router: demo.fails failed (PluginFailed): the thing is broken"]


# ---- Ctrl-C


def lines_until(stream, words):
    """What a process says up to the line with these words, or up to its end."""
    said = ""
    while words not in said and (line := stream.readline().decode()):
        said += line
    return said


@pytest.mark.parametrize("where", ["local", "server"])
def test_ctrl_c_cancels_the_command(cli, directories, server, trace, where):
    options = directories if where == "local" else [server.option]
    process = cli.start("call", "demo.waits", trace.argument, *options)
    wait_for(trace.written, "the plugin runs")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    text = err.decode()
    assert (process.returncode, out) == (130, b"")
    assert "cancelling (" in text
    assert re.search(r"demo\.waits failed \(Cancelled\): it was cancelled after .*: stopped at block \d+", text)
    assert "Traceback" not in text
    assert trace.plugin_gone()
    if where == "local":
        assert trace.all_gone()


def test_ctrl_c_typed_in_a_terminal_reaches_the_command_line_only(cli, directories, trace):
    """The terminal sends SIGINT to its whole foreground group; runner and plugin are in sessions of their own."""
    terminal = Terminal(cli, "call", "demo.waits", trace.argument, *directories)
    wait_for(trace.written, "the plugin runs")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert "stopped at block" in terminal.text
    assert trace.all_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_a_local_call_ends_its_plugin(cli, directories, trace, number):
    process = cli.start("call", "demo.waits", trace.argument, *directories)
    wait_for(trace.written, "the plugin runs")
    process.send_signal(number)
    process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert trace.all_gone()


def test_sigterm_ends_a_local_call_that_ignores_ctrl_c(cli, directories, trace):
    """As shells without job control start what runs in the background."""
    ignores = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = cli.start("call", "demo.waits", trace.argument, *directories, **ignores)
    wait_for(trace.written, "the plugin runs")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, err.decode().count("cancelling")) == (130, 1)
    assert trace.all_gone()


def test_a_second_ctrl_c_leaves_nothing_behind_locally(cli, directories, trace):
    process = cli.start("call", "demo.stubborn", trace.argument, *directories)
    wait_for(trace.written, "the plugin runs")
    err = ""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        err += lines_until(process.stderr, "cancelling (waiting for it to end)")
    out, rest = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (130, b"")
    assert "cancelling (waiting for it to end)" in err
    assert "Traceback" not in err + rest.decode()
    assert trace.all_gone()


def test_a_second_ctrl_c_leaves_the_command_to_the_server(cli, server, trace):
    process = cli.start("call", "demo.stubborn", trace.argument, server.option)
    wait_for(trace.written, "the plugin runs")
    [id] = server.running("demo.stubborn")
    process.send_signal(signal.SIGINT)
    said = lines_until(process.stderr, "cancelling (Ctrl-C again leaves it running)")
    wait_for(lambda: server.get(f"/v1/commands/{id}").keys() & {"phase", "ended_at"}, "it is asked to stop")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert "cancelling" in said
    assert "Traceback" not in said + err.decode()
    wait_for(trace.plugin_gone, "the server ends it after its grace time")


def test_a_server_that_is_restarted_is_waited_for(cli, directories, gate, make_server):
    first = make_server(*directories)
    process = cli.start("call", "demo.works", f"until={gate}", first.option)
    wait_for(lambda: first.running("demo.works"), "the plugin runs")
    first.process.send_signal(signal.SIGTERM)
    first.process.wait(HANG_S)
    port = first.url.rpartition(":")[2]
    assert "the command keeps running, retrying" in lines_until(process.stderr, "retrying")
    make_server(*directories, f"--port={port}")
    gate.release()
    out, err = process.communicate(timeout=HANG_S)
    if process.returncode == 0:
        assert json.loads(out) == {"steps": 4}
    else:
        assert process.returncode == 1
        assert "demo.works failed (OutcomeUnknown)" in err.decode()
