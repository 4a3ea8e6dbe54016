import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from agent_router import plugin

LIB = Path(plugin.__file__).parent / "plugin.sh"
LOCALES = [{"LANG": "C.UTF-8"}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {}]


@pytest.fixture
def bash(tmp_path):
    """`bash(script)` sources the helper first: (exit status, answer or None, log, events)."""

    def run(script, *args, locale=LOCALES[0], events=True):
        stream = tmp_path / "events"
        stream.write_bytes(b"")
        environ = {"PATH": os.environ["PATH"], "AGENT_LIB": str(LIB.parent), **locale}
        environ |= {"AGENT_EVENTS": "/dev/fd/3"} if events else {}
        opened = f"exec 3>>{stream}" if events else ":"
        text = f'{opened}\n. "${{AGENT_LIB:?}}/plugin.sh"\n{script}\n'
        done = subprocess.run(["bash", "-c", text, "plugin", *args], env=environ, capture_output=True, timeout=60)
        answer = json.loads(done.stdout) if done.stdout else None
        return done.returncode, answer, done.stderr.decode(), [json.loads(line) for line in stream.open("rb")]

    return run


def read_as_text(raw: bytes) -> str:
    """What the helper promises: UTF-8 stays, else every byte beyond ASCII becomes U+FFFD."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else "\ufffd" for byte in raw)


def every_kind_of_string() -> list[bytes]:
    source = random.Random(1)
    pieces = [
        b"\xc3",
        b"\xa4",
        b"\xe2\x82\xac",
        b"\xf0\x9f",
        b"\x98\x80",
        b'"',
        b"\\",
        b"&",
        b"\n",
        b"\x1b",
        b"a",
        b"\xff",
    ]
    cases = [bytes([byte]) for byte in range(1, 256)]
    cases += [b"a" + bytes([byte]) + b'"' + bytes([byte]) + b"\\" for byte in range(1, 256)]
    cases += ["ä€😀 \u0080\u07ff\u0800\ud7ff\ue000\uffff\U0010ffff \u0085\u2028".encode(), bytes(range(1, 256))]
    # Longer than needed, surrogates, beyond Unicode, cut off, one sequence inside another.
    cases += [
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xe2\xc3\xa4\x82",
        b"\xc3\xc3\xa4\xa4",
        b"",
        b"%s\\n$(x)`y`",
    ]
    cases += [b"".join(source.choices(pieces, k=source.randrange(1, 9))) for _ in range(500)]
    return cases


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_every_byte_makes_good_json(locale):
    cases = every_kind_of_string()
    script = f'. {LIB}; for s; do json_string "$s"; printf \'%s\\0\' "$REPLY"; done'
    environ = {"PATH": os.environ["PATH"], **locale}
    done = subprocess.run(["bash", "-c", script, "x", *cases], env=environ, capture_output=True, check=True, timeout=60)
    answers = done.stdout.split(b"\0")[:-1]
    assert len(answers) == len(cases)
    assert done.stderr == b""
    for case, answer in zip(cases, answers, strict=True):
        assert json.loads(answer) == read_as_text(case), case


def test_the_locale_of_the_plugin_is_left_alone(bash):
    script = "before=ä; json_string $'\\xff\\xc3\\xa4'; after=ä; reply n:number ${#before}${#after} lc ${LC_ALL-unset}"
    assert bash(script)[1] == {"n": 11, "lc": "unset"}


@pytest.mark.parametrize(("words", "answer"), [
    ("", {}),
    ("a b c ''", {"a": "b", "c": ""}),
    ("a:number 5 b:number -1.5e3 c:bool true d:null e:json '[1, {}]'",
     {"a": 5, "b": -1500.0, "c": True, "d": None, "e": [1, {}]}),
    ("a:array x 'y z' '' '*'", {"a": ["x", "y z", "", "*"]}),
    ("a b c:array", {"a": "b", "c": []}),
    ("a:array ''", {"a": [""]}),
    ("'k\"ey' v 'ü' 'b\\'", {'k"ey': "v", "ü": "b\\"}),
    ("a:string x:y", {"a": "x:y"}),
    ("a -n", {"a": "-n"}),
])  # fmt: skip
def test_replies(bash, words, answer):
    assert bash(f"reply {words}")[:3] == (0, answer, "")


@pytest.mark.parametrize(("words", "complaint"), [
    ("a", "a has no value"), ("a:number", "a has no value"), ("a:list x", "unknown type list of a"),
    ("count:number '3 MiB'", "'3 MiB' is no number, which count must be"), ("a:number 01", "'01' is no number"),
    ("a:number ''", "'' is no number"), ("a:number +1", "'+1' is no number"), ("a:number 1.", "'1.' is no number"),
    ("a:bool yes", "'yes' is no bool, which a must be"), ("a:bool", "a has no value"),
])  # fmt: skip
def test_a_reply_that_is_wrong_ends_the_plugin(bash, words, complaint):
    status, answer, log, _ = bash(f"reply {words}; echo not reached")
    assert status != 0
    assert answer is None
    assert complaint in log


def test_the_empty_list_of_a_plugin_that_found_nothing(bash):
    assert bash('mapfile -t found < <(true); reply found:array "${found[@]}"')[:2] == (0, {"found": []})


@pytest.mark.parametrize(("function", "status"), [
    ("fail", 1), ("invalid", 64), ("incompatible", 69), ("retry", 75), ("refuse", 77),
])  # fmt: skip
def test_failures(bash, function, status):
    answer = {"error": {"code": "device_busy", "message": 'it is "mounted" on /mnt/ü'}}
    assert bash(f"""{function} device_busy 'it is "mounted" on /mnt/ü'; echo not reached""")[:3] == (status, answer, "")
    assert bash(f"{function} no_words")[1] == {"error": {"code": "no_words", "message": "no_words"}}


def test_a_command_that_fails_ends_the_plugin(bash):
    assert bash("false; reply")[:2] == (1, None)
    assert bash("false | true; reply")[:2] == (1, None)
    assert bash("echo $undefined; reply")[0] != 0


@pytest.mark.parametrize(("script", "log"), [
    ("false", "<3>line 3: false\n"),
    ("true\n\nx=$(grep nothing /dev/null)", "<3>line 5: x=$(grep nothing /dev/null)\n"),
    ("( false )", "<3>line 3: false\n<3>line 3: ( false )\n"), ("true | false", "<3>line 3: false\n"),
    ("cat <<EOF | false\ntext\nEOF", "<3>line 5: false\n"),
    ("while true; do false; done", "<3>line 3: false\n"),
    ("get() { fail broken 'no luck'; }\nx=$(get)", "<3>no luck\n<3>line 4: x=$(get)\n"),
    ("get() { refuse broken; }\nx=$(get)", "<3>broken\n<3>line 4: x=$(get)\n"),
    ("x=$(printf '%s' '" + "y" * 300 + "'; exit 3)", "<3>line 3: x=$(printf '%s' '" + "y" * 183 + "\n"),
])  # fmt: skip
def test_the_command_that_ends_the_plugin_is_named_with_its_line(bash, script, log):
    status, answer, said, _ = bash(f"{script}; echo '{{}}'" if "EOF" not in script else script)
    assert status == (77 if "refuse" in script else 3 if "exit 3" in script else 1)
    assert answer is None
    assert said == log


def test_a_command_in_a_function_is_named_with_its_own_line(tmp_path):
    plugin = tmp_path / "a.b"
    plugin.write_text('. "$AGENT_LIB/plugin.sh"\nf() {\n    grep nothing /dev/null\n}\nf\n')
    environ = {"PATH": os.environ["PATH"], "AGENT_LIB": str(LIB.parent)}
    done = subprocess.run(["bash", plugin], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "<3>line 3: grep nothing /dev/null\n")


def test_a_failure_that_the_plugin_expects_is_not_named(bash):
    script = """
false || true
if ! false; then x=$(false; echo y); fi
! true
set +e; false; x=$(false); set -e
(($# == 9)) && echo no
reply x "$x" a b"""
    assert bash(script)[:3] == (0, {"x": "", "a": "b"}, "")


def test_events(bash):
    status, _, log, events = bash("""
progress 1; progress 2 3; progress 4 5 MiB; progress 6 7 '' "wri\\"ting"
warn 'ü "quoted"'; warn "$(printf 'x%.0s' {1..9000})"
critical on; critical off
log one two; log $'three\\nfour'
reply""")
    assert status == 0
    assert events == [
        {"done": 1},
        {"done": 2, "total": 3},
        {"done": 4, "total": 5, "unit": "MiB"},
        {"done": 6, "total": 7, "message": 'wri"ting'},
        {"warn": 'ü "quoted"'},
        {"warn": "x" * 2000},
        {"critical": True},
        {"critical": False},
    ]
    assert log == "<6>one two\n<6>three\nfour\n"


def test_by_hand_there_is_no_event_stream(bash):
    assert bash("progress 1 2; warn x; critical on; reply a b", events=False) == (0, {"a": "b"}, "", [])


def test_the_helper_defines_nothing_by_accident(bash):
    script = (
        'b=$(compgen -v; compgen -A function); . "$AGENT_LIB/plugin.sh"; json_string x; json_array y >/dev/null;'
        'a=$(compgen -v; compgen -A function); comm -13 <(sort <<<"$b") <(sort <<<"$a")'
    )
    environ = {"PATH": os.environ["PATH"], "AGENT_LIB": str(LIB.parent)}
    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - {"PIPESTATUS"} == {
        "REPLY", "b", "_error", "_event", "_failed", "_json_utf8", "_matching",
        "critical", "fail", "incompatible", "invalid", "json_array",
        "json_string",
        "log", "progress", "refuse", "reply", "retry", "warn",
    }  # fmt: skip
