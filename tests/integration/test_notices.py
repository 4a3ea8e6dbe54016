"""What the ramdisk could not do is told in the catalogue, and nothing else suffers from it."""

import json
import subprocess
import sys
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.agent import FreshAgent

SENTENCE = "plugins.cpio.zst cannot be unpacked: unknown compression"


def test_notices_stand_in_the_catalogue_as_they_come(fresh_agent: FreshAgent, tmp_path: Path):
    directory = tmp_path / "notices"
    agent = fresh_agent(f"--notices={directory}")
    before = agent.get("/v1/methods")
    assert before["notices"] == []
    directory.mkdir()
    (directory / "overlay").write_text(f"{SENTENCE}\n")
    after = agent.get("/v1/methods")
    assert after == {"methods": before["methods"], "notices": [{"source": "overlay", "message": SENTENCE}]}
    assert agent.post("test.echo", {"text": "x"})["command_status"] == "SUCCEEDED"
    valid_by_openapi(agent.get("/openapi.json"), after)


def valid_by_openapi(document: dict, answer: dict) -> None:
    registry = Registry().with_resource("urn:openapi", Resource.opaque(document))
    validator = Draft202012Validator({"$ref": "urn:openapi#/components/schemas/Methods"}, registry=registry)
    validator.validate(answer)
    assert not validator.is_valid({"methods": [], "notices": [{"source": "overlay"}]})
    assert not validator.is_valid({"methods": []})


def test_notices_on_the_command_line(fresh_agent: FreshAgent, tmp_path: Path):
    (tmp_path / "overlay").write_text(SENTENCE)
    agent = fresh_agent(f"--notices={tmp_path}")
    argv = [sys.executable, "-m", "agent_router", "methods", "--json", f"--url=http://127.0.0.1:{agent.port}"]
    shown = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert shown == agent.get("/v1/methods")
    assert shown["notices"] == [{"source": "overlay", "message": SENTENCE}]
