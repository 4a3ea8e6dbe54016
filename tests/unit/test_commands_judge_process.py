"""The process that can be killed over a job, as the command line uses it."""

import os
import pickle
import re
import signal
import time

import pytest

from agent_router.catalogue.manifest import Manifest
from agent_router.commands.dispatch import Dispatcher
from agent_router.commands.judge_process import CPU_S, BlockingJudge, Died, TookLong
from agent_router.config.settings import Settings
from agent_router.ipc.spool import Spooled, store
from agent_router.schema.problems import Problem, RequestError
from tests.support import processes

MANIFEST = (
    b'{"protocol": 1, "title": "t", "version": "1", "effects": "read", "request": {"type": "object"}, "response": {}}'
)


@pytest.fixture
def dispatcher(tmp_path):
    return Dispatcher(Settings(bundled=False, state=str(tmp_path)))


@pytest.fixture
def judge(dispatcher):
    made = BlockingJudge(dispatcher)
    yield made
    if made._process is not None:
        made._process.end()


def own_pid(dispatcher):
    return os.getpid()


def doubled(dispatcher, value):
    return value + value


def refuse(dispatcher):
    raise RequestError(418, "teapot", "No coffee here", [Problem("$.a", "is wrong")])


def divide_by_zero(dispatcher):
    return 1 / 0


def go_back_for_ever(dispatcher):
    return re.search("^(a+)+$", "a" * 60 + "!")


def die(dispatcher):
    os.kill(os.getpid(), signal.SIGKILL)


def remember(dispatcher, manifest):
    dispatcher._remember("id", manifest, ["hidden"])
    dispatcher.closed = True


def read_and_write(dispatcher, file):
    return store(dispatcher.settings.state, file.read() * 2)


def test_it_works_for_one_job_after_the_other(judge):
    first, second = judge.run(own_pid, (), 0), judge.run(own_pid, (), 0)
    assert first == second != os.getpid()
    assert judge.run(doubled, (b"x" * 3_000_000,), 0) == b"x" * 6_000_000


def test_what_is_wrong_with_a_request_comes_back(judge):
    with pytest.raises(RequestError, match="No coffee here") as caught:
        judge.run(refuse, (), 0)
    assert (caught.value.status, caught.value.code) == (418, "teapot")
    assert caught.value.problems == [Problem("$.a", "is wrong")]
    with pytest.raises(Died, match="failed: ZeroDivisionError: division by zero"):
        judge.run(divide_by_zero, (), 0)
    assert judge.run(doubled, (2,), 0) == 4


def test_a_job_that_takes_too_long_is_ended_by_the_kernel(judge):
    pid, before = judge.run(own_pid, (), 0), time.process_time()
    with pytest.raises(TookLong, match=f"more than {CPU_S:g} s of computing time"):
        judge.run(go_back_for_ever, (), 0)
    assert not processes.alive(pid)
    assert time.process_time() - before < CPU_S, "its time is not ours"
    assert judge.run(doubled, (2,), 0) == 4, "the next job gets another process"


def test_a_job_that_ends_its_process(judge):
    with pytest.raises(Died, match=r"ended the process that did it \(signal SIGKILL\)"):
        judge.run(die, (), 0)
    assert judge.run(doubled, (2,), 0) == 4


def test_what_it_knows_of_a_command_its_parent_knows_then(judge, dispatcher):
    manifest = Manifest(MANIFEST)
    judge.run(remember, (manifest,), 0)
    assert dispatcher.closed
    assert dispatcher.used["id"] == (manifest, ["hidden"])
    assert dispatcher.used["id"][0] is manifest, "compiled schemas are not there twice"


def test_a_manifest_that_is_known_no_more_comes_back_whole():
    manifest = Manifest(MANIFEST.replace(b'"t"', b'"another"'))
    text = pickle.dumps(manifest)
    del manifest
    copy = pickle.loads(text)
    assert (copy.data["title"], copy.effects, copy.response.problems(5)) == ("another", "read", [])
    assert pickle.loads(text) is copy


def test_a_large_request_moves_as_a_file(judge, tmp_path):
    file = store(str(tmp_path), b"text")
    answer = judge.run(read_and_write, (file,), 0)
    assert isinstance(answer, Spooled)
    assert (answer.read(), answer.length) == (b"texttext", 8)
    assert len(list((tmp_path / "spool").iterdir())) == 1
    answer.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_it_leaves_no_descriptor_of_its_parent_open(judge):
    reading, writing = os.pipe()
    judge.run(own_pid, (), 0)
    os.close(writing)
    assert os.read(reading, 1) == b"", "nobody else holds the pipe"
    os.close(reading)


END = {
    "id": "1", "name": "a.b", "reason": "done", "status": 0, "message": "", "started_at": 1.0, "ended_at": 2.0,
    "progress": None, "warnings": ["saw hidden"], "events_bad": 0, "timeout_s": 1, "again": False,
}  # fmt: skip


@pytest.mark.parametrize(("end_of_judge", "kind", "times"), [("kill", "JudgeFailed", 2), ("wait", "CheckTooSlow", 1)])
def test_a_verdict_that_cannot_be_made_is_one_too(dispatcher, tmp_path, monkeypatch, end_of_judge, kind, times):
    tries, base = tmp_path / "tries", tmp_path / "c/1"
    base.mkdir(parents=True)
    (base / "secrets").write_text('["hidden"]')
    (base / "log").write_text("it is hidden")

    class Dying(Dispatcher):
        def verdict(self, head, out, manifest, hidden, hasty=False):
            if hasty:
                return super().verdict({**head, "again": True}, out, manifest, hidden, hasty)
            with tries.open("a") as file:
                file.write("x")
            return die(self) if end_of_judge == "kill" else go_back_for_ever(self)

    monkeypatch.setitem(globals(), "Dying", Dying)
    Dying.__qualname__, Dying.verdict.__qualname__ = "Dying", "Dying.verdict"
    dispatcher.__class__ = Dying
    judge = BlockingJudge(dispatcher)
    record = judge.verdict({**END}, b"{}").decode()
    assert len(tries.read_text()) == times
    assert f'"command_error":{{"type":"{kind}","code":500,"message":"its output could not be checked' in record
    assert "they may hold secrets" in record
    assert "hidden" not in record
    assert (base / "log").read_text() == ""
