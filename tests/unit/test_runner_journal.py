import json
import os

import pytest

from agent_router.runner import journal as journal_module
from agent_router.runner.command import Command
from agent_router.runner.history import SEPARATOR, History
from agent_router.runner.journal import Journal
from agent_router.runner.locks import Locks


def command(id, locks=(), **head):
    head = {
        "op": "run", "id": id, "name": "a.b", "argv": ["/bin/true"], "params": {}, "locks": list(locks), "at": 5.0,
        "timeout_s": 60, "grace_s": 1, "out_limit": 1000, "log_limit": 1000, **head,
    }  # fmt: skip
    return Command(head, json.dumps(head).encode())


def record(id, started_at=1.0, size=0):
    return json.dumps({"id": id, "started_at": started_at, "x": "y" * size}, separators=(",", ":")).encode()


# ---- journal


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "journal")


def test_the_journal_tells_what_happened(path):
    journal = Journal(path)
    one, two, three = (command(id) for id in ("one", "two", "three"))
    for item in (one, two, three):
        journal.begin(item)
    one.pid, two.pid = 100, 200
    journal.started(one)
    journal.started(two)
    one.status, one.reason, one.ended_at = -9, "timeout", 6.5
    journal.ended(one)
    three.reason, three.message = "not_started", "no such file:\nx y "
    journal.ended(three)
    found = {item.id: item for item in Journal(path).replay()}
    assert list(found) == ["one", "two", "three"]
    assert (found["one"].pid, found["one"].status, found["one"].reason, found["one"].ended_at) == (
        100,
        -9,
        "timeout",
        6.5,
    )
    assert (found["two"].pid, found["two"].reason) == (200, "")
    assert (found["three"].pid, found["three"].status, found["three"].reason) == (0, None, "not_started")
    assert found["three"].message == "no such file: x y "
    assert found["two"].started_boot == pytest.approx(two.started_boot, abs=0.001)
    assert found["two"].head == two.head


def test_a_journal_cut_at_any_byte_still_tells_the_rest(path):
    journal = Journal(path)
    one, two = command("one"), command("two", text="P two 5 X one B")
    journal.begin(one)
    one.pid = 12345
    journal.started(one)
    journal.begin(two)
    one.status, one.reason = 0, "done"
    journal.ended(one)
    whole = open(path, "rb").read()
    for at in range(len(whole) + 1):
        for more in (b"", b"\n", b"X two 0 done 1.0 \n", b"\xff\n"):
            with open(path, "wb") as file:
                file.write(whole[:at] + more)
            found = Journal(path).replay()
            assert [item.id for item in found] == ["one", "two"][: len(found)]
            assert not found or found[0].pid in (0, 12345)


def test_a_large_journal_is_rewritten_with_the_live_ones(path, monkeypatch):
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 9000)
    journal = Journal(path)
    live = command("live", text="x" * 100)
    live.pid = 77
    journal.begin(live)
    journal.started(live)
    over = command("over")
    over.reason, over.status = "done", 0
    while os.stat(path).st_size < 9000:
        journal.begin(over)
    journal.compact_if_large([live, over])
    journal.begin(command("new"))
    assert [(item.id, item.pid, item.reason) for item in Journal(path).replay()] == [
        ("live", 77, ""),
        ("over", 0, "done"),
        ("new", 0, ""),
    ]
    assert os.stat(path).st_size < 1000
    assert os.listdir(os.path.dirname(path)) == ["journal"]


def test_a_full_disk_does_not_end_the_runner(path, capsys):
    journal = Journal(path)
    os.close(journal._fd)
    journal._fd = os.open("/dev/full", os.O_WRONLY)
    journal.begin(command("one"))
    assert "a restart of the agent may forget commands" in capsys.readouterr().out


def test_half_a_line_of_a_full_disk_takes_no_other_with_it(path, monkeypatch):
    journal = Journal(path)
    one = command("one")
    one.pid = 12345
    journal.begin(one)
    with monkeypatch.context() as full:
        write = os.write
        full.setattr(os, "write", lambda fd, data: write(fd, data[:-5]))
        journal.started(one)
    journal.begin(command("two"))
    assert [(item.id, item.pid) for item in Journal(path).replay()] == [("one", 0), ("two", 0)]


# ---- history


@pytest.fixture
def make_history(tmp_path):
    return lambda keep=100: History(str(tmp_path / "history"), keep)


def listed(history):
    with open(history.path, "rb") as file:
        text = file.read(history.place()["size"])
    return [json.loads(line)["id"] for line in text.split(SEPARATOR)[:-1]]


def test_what_is_appended_is_found(make_history):
    history = make_history()
    assert (history.find("a"), listed(history), history.ids()) == (None, [], set())
    for id in ("a", "b", "a-b", "ab"):
        history.append(record(id))
    assert history.find("a") == record("a")
    assert history.find("ab") == record("ab")
    assert history.find("") is None
    assert history.find('a","started_at":2') is None
    assert (listed(history), history.ids()) == (["a", "b", "a-b", "ab"], {"a", "b", "a-b", "ab"})


def test_an_id_inside_a_record_is_not_found(make_history):
    history = make_history()
    history.append(b'{"id":"a","text":"{\\"id\\":\\"b\\"","c":{"id":"d"}}')
    assert history.find("b") is None
    assert history.find("d") is None


def test_it_is_still_there_after_a_restart_and_half_a_record_is_not(make_history):
    history = make_history()
    for id in ("a", "b"):
        history.append(record(id))
    whole = open(history.path, "rb").read()
    for at in range(len(whole) + 1):
        with open(history.path, "wb") as file:
            file.write(whole[:at])
        again = make_history()
        assert listed(again) == ["a", "b"][: whole[:at].count(SEPARATOR)]
        again.append(record("c"))
        assert listed(again)[-1] == "c"
        assert again.size == os.stat(again.path).st_size


def test_the_oldest_go_first(make_history):
    history = make_history(keep=8)
    generations, found = set(), []
    for number in range(100):
        generations.add(history.place()["generation"])
        history.append(record(str(number)))
        found, before = listed(history), len(found)
        assert found == [str(n) for n in range(number + 1)][-len(found) :]
        assert len(found) in (before + 1, 8)
        assert min(number + 1, 8) <= len(found) <= 10
        assert history.count == len(found)
    assert len(generations) > 1  # a reader notices that the file is another one
    assert history.find("1") is None
    assert history.find("99") == record("99")


def test_large_records_are_bounded_in_bytes(make_history, monkeypatch):
    from agent_router.runner import history as history_module

    monkeypatch.setattr(history_module, "MAX_BYTES", 10_000)
    history = make_history(keep=1000)
    for number in range(50):
        history.append(record(str(number), size=900))
        assert history.size <= 10_000
        assert listed(history)[-1] == str(number)
    history.append(record("huge", size=30_000))
    assert listed(history)[-1] == "huge"


@pytest.fixture
def room(monkeypatch):
    """`room(5)`: how many bytes fit into any file from now on."""
    write, left = os.write, [1 << 30]

    def limited(fd, data):
        if not left[0]:
            raise OSError(28, "No space left on device")
        done = write(fd, data[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(os, "write", limited)
    return lambda count: left.__setitem__(0, count)


def test_what_finds_no_room_waits_and_is_found_all_the_same(make_history, room, capsys):
    history, written = make_history(), []
    history.append(record("a"))
    for bytes_left in (0, 5):
        room(bytes_left)
        history.append(record(f"b{bytes_left}"), lambda: written.append("b"))
    assert (listed(history), written) == (["a"], [])
    assert [json.loads(text)["id"] for text in history.place()["late"]] == ["b0", "b5"]
    assert [history.find(id) for id in ("a", "b5", "c")] == [record("a"), record("b5"), None]
    assert "wait for room in memory" in capsys.readouterr().out
    room(1 << 30)
    history.write_late()
    assert (listed(history), history.place()["late"], written) == (["a", "b0", "b5"], [], ["b", "b"])
    assert os.stat(history.path).st_size == history.size


def test_no_more_wait_for_room_than_are_kept(make_history, room):
    history, gone = make_history(keep=2), []
    room(0)
    for id in ("a", "b", "c"):
        history.append(record(id), lambda id=id: gone.append(id))
    assert ([json.loads(text)["id"] for text in history.place()["late"]], gone) == (["b", "c"], ["a"])


# ---- locks


def test_locks():
    locks = Locks()
    one, node, none = command("one", ["a", "b"]), command("node", ["node"]), command("none")
    locks.take(none)
    assert locks.holder(["node"]) is None
    locks.take(one)
    assert locks.holder([]) is None
    assert locks.holder(["c"]) is None
    assert locks.holder(["c", "b"]) is one
    assert locks.holder(["node"]) is one
    locks.release(node)
    assert locks.holder(["a"]) is one
    locks.release(one)
    locks.take(node)
    assert locks.holder(["anything"]) is node
    assert locks.holder([]) is None
    locks.release(node)
    assert locks.holder(["node"]) is None
