"""Random SIGKILLs over many commands with known answers; many commands; histories and journals that grow."""

import itertools
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import processes
from tests.support.agent import Agent, FreshAgent
from tests.support.gate import Gate
from tests.support.waiting import HANG_S, wait_for

SEED = 20_250_707
KILLS, COMMANDS, CLIENTS = 10, 40, 8
VICTIMS = (("front",), ("front",), ("runner",), ("runner",), ("runner", "front"))


class Killer(threading.Thread):
    """Kills a random part of the agent, lets it come back, and so on, KILLS times."""

    def __init__(self, agent: Agent, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self.agent, self.dice = agent, dice

    def run(self) -> None:
        for _ in range(KILLS):
            time.sleep(self.dice.uniform(0.0, 0.15))  # any moment
            wait_for(lambda: {"runner", "front"} <= set(self.agent.pids), "all are there to be killed")
            self.agent.kill(*self.dice.choice(VICTIMS))


def test_random_kills_lose_nothing_repeat_nothing_and_falsify_nothing(fresh_agent: FreshAgent, tmp_path: Path):
    agent = fresh_agent()
    dice = random.Random(SEED)
    runs = tmp_path / "runs"
    runs.touch()
    asked, answers = {}, []
    killer = Killer(agent, random.Random(SEED))
    numbers = itertools.count()

    def send_until_all_kills_are_over() -> None:
        while (n := next(numbers)) < COMMANDS or killer.is_alive():
            name = dice.choice(["work.bash", "work.sh", "work.python"])
            params = {"n": n, "seconds": round(dice.uniform(0, 0.4), 2), "runs": str(runs)}
            asked[f"chaos-{n}"] = name, params
            answers.append(agent.post_until_answered(name, params, id=f"chaos-{n}", wait=dice.random() < 0.7))

    killer.start()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for client in [pool.submit(send_until_all_kills_are_over) for _ in range(CLIENTS)]:
            client.result()
    killer.join()
    ends = {id: agent.ended(id) for id in asked}
    times = {id: runs.read_text().split().count(id) for id in asked}
    for id, (name, params) in asked.items():
        ended = ends[id]
        assert ended["name"] == name
        if ended["command_error"] and ended["command_error"]["type"] == "NotStarted":
            assert times[id] == 0, f"{id} was run and is said not to have been started"
            continue
        assert ended["command_status"] == "SUCCEEDED", str(ended)
        assert ended["command_result"] == {"square": params["n"] ** 2}
        assert times[id] == 1, f"{id} was run {times[id]} times"
    assert sum(times.values()) >= len(asked) // 2, "a kill hits the moment before the start only now and then"
    for answer in answers:
        assert answer["command_status"] == "RUNNING" or answer == ends[answer["id"]]
    assert {item["id"] for item in agent.commands()} == set(asked)


def test_a_kill_around_the_start_is_right_or_honestly_not_started(fresh_agent: FreshAgent, tmp_path: Path):
    """The moments between the intent, the process and the note of its pid."""
    agent = fresh_agent()
    runs = tmp_path / "runs"
    runs.touch()
    for n, delay_ms in enumerate((0, 2, 3, 4, 6) * 2):
        id = f"start-{n}"
        wait_for(lambda: "runner" in agent.pids, "a runner to be killed")
        params = {"n": n, "seconds": 0.05, "runs": str(runs)}
        client = threading.Thread(
            target=agent.post_until_answered, args=("work.sh", params), kwargs={"id": id}, daemon=True
        )
        victim = agent.pids["runner"]
        client.start()
        time.sleep(delay_ms / 1000)  # the moment of the kill
        processes.kill(victim, 9)
        client.join(HANG_S)
        ended = agent.ended(id)
        times = runs.read_text().split().count(id)
        if ended["command_status"] == "SUCCEEDED":
            assert (ended["command_result"], times) == ({"square": n * n}, 1)
        else:
            assert (ended["command_error"]["type"], times) == ("NotStarted", 0), ended


def test_thousands_of_commands_leave_memory_and_disk_flat(fresh_agent: FreshAgent):
    """A thousand here; the benchmark runs 10,000."""
    agent = fresh_agent("--history=150")

    def run(count: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: agent.post("work.python", {"n": n, "runs": "/dev/null"}), range(count)))

    run(350)
    before = {role: processes.rss_kib(agent.pids[role]) for role in ("supervisor", "runner", "front")}
    run(650)
    for role, kib in before.items():
        assert processes.rss_kib(agent.pids[role]) - kib < 1500, f"{role} grows"
    assert len(agent.commands()) <= 150 * 1.25 + 1
    assert len(list((agent.state / "c").iterdir())) < 50
    sizes = {path.name: path.stat().st_size for path in agent.state.iterdir() if path.is_file()}
    assert all(size < 4 << 20 for size in sizes.values()), sizes
    assert len(list(Path(f"/proc/{agent.pids['runner']}/fd").iterdir())) < 40
    assert len(list(Path(f"/proc/{agent.pids['front']}/fd").iterdir())) < 60


def test_journal_and_history_are_compacted_and_survive_it(fresh_agent: FreshAgent, tmp_path: Path, gate: Gate):
    agent = fresh_agent("--history=50")
    runs = tmp_path / "runs"
    runs.touch()
    running = agent.post("work.sh", {"n": 6, "until": str(gate), "runs": str(runs)}, wait=False)
    first = agent.post("test.echo", {"first": True})
    big = "x" * 20_000  # it is in the journal too, as PARAM_big
    ids = [agent.post("test.echo", {"big": big, "n": n})["id"] for n in range(80)]
    journal = agent.state / "journal"
    wait_for(lambda: journal.stat().st_size < 1 << 20, "the journal is compacted")
    assert running["id"] in journal.read_text()
    for victims in (("runner",), ("runner", "front")):
        agent.kill(*victims)
        wait_for(lambda: agent.answers(f"/v1/commands/{ids[-1]}"), "it is back")
    shown = agent.commands()
    finished = [item["id"] for item in shown if item["id"] != running["id"]]
    assert finished == ids[-len(finished) :], "the newest are kept, in order"
    assert 50 <= len(finished) <= 63
    assert agent.request("GET", f"/v1/commands/{first['id']}").status == 404
    assert agent.command(ids[-1])["command_result"] == {"big": big, "n": 79}
    gate.release()
    ended = agent.ended(running["id"])
    assert ended["command_result"] == {"square": 36}
    assert runs.read_text().split() == [running["id"]]


def test_what_the_history_has_forgotten_does_not_come_back(fresh_agent: FreshAgent):
    """The journal still tells of it after a restart; its output is gone, and it must not be judged by that."""
    agent = fresh_agent("--history=20")
    ids = [agent.post("test.echo", {"n": n})["id"] for n in range(60)]
    agent.kill("runner")
    wait_for(lambda: agent.answers(f"/v1/commands/{ids[-1]}"), "it is back")
    last = agent.post("test.echo", {"n": 60})
    shown = agent.commands()
    assert [item["id"] for item in shown] == [*ids, last["id"]][-len(shown) :]
    assert 20 <= len(shown) <= 26
    assert all(item["command_status"] == "SUCCEEDED" for item in shown)


def test_a_repeated_request_with_an_id_joins(agent: Agent, tmp_path: Path, gate: Gate):
    runs, id = tmp_path / "runs", uuid.uuid4().hex
    params = {"n": 8, "until": str(gate), "runs": str(runs)}
    agent.post("work.bash", params, wait=False, id=id)
    with ThreadPoolExecutor(8) as pool:
        joined = [pool.submit(agent.post, "work.bash", params, id=id) for _ in range(8)]
        gate.release()
        answers = [one.result() for one in joined]
    assert all(answer == answers[0] for answer in answers)
    assert agent.post("work.bash", params, id=id) == answers[0], "also when it has ended long ago"
    assert runs.read_text().split() == [id]
    reply = agent.send("work.sh", params, id=id)
    assert (reply.status, reply.problem["code"]) == (409, "id_taken")
