"""A Python plugin in the warm interpreter does what it does under python3: each script runs both ways."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.agent import Agent, Drop, FreshAgent, drop_into

TESTS = Path(__file__).resolve().parents[1]
WARM, FRESH = "#!/usr/bin/env python3\n", "#!/usr/bin/env -S python3\n"
ANSWER = "print('{}')\n"

SCRIPTS = {
    "closed pipe": "import subprocess\nsubprocess.run(['head', '-c1'], input=b'x' * 1000000, stdout=-1)\n" + ANSWER,
    "atexit": "import atexit\natexit.register(lambda: open(OUT, 'w').write('called'))\n" + ANSWER,
    "order at the end": (
        "import atexit, threading, sys, time\n"
        "class Thing:\n    def __del__(self): print('deleted', file=sys.stderr)\n"
        "thing = Thing()\natexit.register(print, 'atexit', file=sys.stderr)\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread', file=sys.stderr))).start()\n" + ANSWER
    ),
    "file of the module": "f = open(OUT, 'w')\nf.write('data')\n" + ANSWER,
    "file in a cycle": "class A: pass\na = A()\na.me = a\na.f = open(OUT, 'w')\na.f.write('data')\n" + ANSWER,
    "file of an imported module": "import fractions\nfractions.f = open(OUT, 'w')\nfractions.f.write('x')\n" + ANSWER,
    "temporary directory": "import tempfile\nd = tempfile.TemporaryDirectory(dir=DIR, prefix='left-')\n" + ANSWER,
    "file of logging": "import logging\nlogging.basicConfig(filename=OUT)\nlogging.error('x')\n" + ANSWER,
    "exit with an object": "import sys\nsys.exit({'a': 1})\n",
    "exit with a text": "import sys\nsys.exit('no such disk')\n",
    "exit with a large number": "import sys\nsys.exit(1 << 70)\n",
    "exit with 300": "import sys\nsys.exit(300)\n",
    "exit with true": "import sys\nsys.exit(True)\n",
    "exit at the end": "import atexit, os\natexit.register(os._exit, 7)\n" + ANSWER,
    "exception": "def f():\n    raise ValueError('wrong')\nf()\n",
    "exception in a chain": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('x') from error\n",
    "exception at exit": "import atexit\natexit.register(lambda: 1 / 0)\n" + ANSWER,
    "own hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[1], file=sys.stderr)\nraise ValueError('x')\n",
    "interrupted": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(5)\n",
    "file too large": (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "f = open(OUT, 'wb', 0)\nf.write(b'x' * 100)\nf.write(b'x')\n"
    ),
    "closed stdout": "import sys\nprint('{}')\nsys.stdout.close()\n",
    "full stdout": "import sys, os\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('{}')\n",
    "name that is no UTF-8": "print('\"' + b'a\\xff'.decode(errors='surrogateescape') + '\"')\n",
    "does not compile": "x = (\n",
    "null byte": "x = '\\0'\n\0\n",
    "warning of the compiler": "x = 1\nassert (x, 'text')\n" + ANSWER,
    "too deep for the compiler": "x = 'a'" + " + 'a'" * 100_000 + "\n" + ANSWER,
    "surroundings": (
        "import json, locale, sys, signal, warnings\n"
        "print(json.dumps({'path': sys.path[1:], 'names': sorted(globals()), 'doc': __doc__, 'spec': __spec__,\n"
        "'open': open('/dev/null').encoding, 'streams': [(s.encoding, s.errors, s.name, s.line_buffering, s.mode)\n"
        "for s in (sys.stdin, sys.stdout, sys.stderr)], 'same': sys.stdout is sys.__stdout__,\n"
        "'signals': [str(signal.getsignal(n)) for n in (2, 13, 15, 25)], 'filters': str(warnings.filters),\n"
        "'argv': len(sys.argv), 'modules': '__main__' in sys.modules}))\n"
    ),
}  # fmt: skip


def outcome(agent: Agent, drop: Drop, directory: Path, script: str) -> list[dict[str, Any]]:
    """What a script leads to, warm and fresh."""
    found = []
    for number, shebang in enumerate((WARM, FRESH)):
        below = directory / str(number)
        below.mkdir()
        names = f"OUT, DIR = {str(below / 'out')!r}, {str(below)!r}\n"
        drop("dropped.both", shebang + names + script)
        command = agent.post("dropped.both")
        text = str(command["command_error"]) + agent.log(command["id"])
        files = {path.name: path.read_text() if path.is_file() else "" for path in below.iterdir()}
        found.append({
            "status": command["command_status"], "result": command["command_result"], "files": files,
            "said": re.sub(r"0x[0-9a-f]+|[0-9a-f-]{36}", "…", text.replace(str(below), "…")),
        })  # fmt: skip
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_the_same_warm_and_fresh(agent: Agent, drop: Drop, tmp_path: Path, name):
    warm, fresh = outcome(agent, drop, tmp_path, SCRIPTS[name])
    assert warm == fresh


def python_plugins() -> list[str]:
    found = sorted((TESTS / "plugins.d").iterdir())
    return [path.name for path in found if path.is_file() and path.read_bytes().startswith(WARM.encode())]


UNLIKE = {"probe.warm", "bad.needs_terminal"}  # tells pids and times; is refused before it starts


@pytest.mark.parametrize("name", [name for name in python_plugins() if name not in UNLIKE])
def test_every_test_plugin_does_the_same_warm_and_fresh(agent: Agent, drop: Drop, tmp_path: Path, name):
    script = (TESTS / "plugins.d" / name).read_text().removeprefix(WARM)
    warm, fresh = outcome(agent, drop, tmp_path, script)
    assert warm == fresh


def test_the_runner_does_not_keep_the_parameters(fresh_agent: FreshAgent):
    agent = fresh_agent()
    drop_into(agent, "dropped.python", WARM + ANSWER)
    runner = agent.pids["runner"]

    def run(count: int) -> None:
        for number in range(count):
            params = {key: f"{number}{key}" + "x" * 28_000 for key in "abcd"}
            assert agent.post("dropped.python", params)["command_result"] == {}

    run(10)
    before = processes.rss_kib(runner)
    run(40)
    assert processes.rss_kib(runner) - before < 2000
