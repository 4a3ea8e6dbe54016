import os
import subprocess
import sys

from agent_router.runner import peers


def test_who_may_judge(tmp_path):
    me, above = os.getpid(), os.getppid()
    assert peers.may_judge(me, me, str(tmp_path)), "who started the runner"
    assert peers.may_judge(me, above, str(tmp_path)), "a sister, such as the front"
    assert not peers.may_judge(me, 4_000_000, str(tmp_path))
    (tmp_path / "supervisor.pid").write_text(f"{above}\n")
    assert peers.may_judge(me, 4_000_000, str(tmp_path)), "a child of the next supervisor"
    (tmp_path / "supervisor.pid").write_text("")
    assert not peers.may_judge(me, 4_000_000, str(tmp_path))


def test_a_process_that_is_gone_judges_nothing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not peers.may_judge(gone.pid, os.getpid(), str(tmp_path))
