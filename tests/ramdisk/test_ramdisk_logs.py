"""log.collect brings along what is needed to understand what happened."""

from tests.support.rack import TOKEN, Guest, collected


def test_logs_of_machine_and_agent(guest: Guest):
    files = collected(guest)
    errors = {name: text[-300:] for name, text in files.items() if name.endswith(".error")}
    assert errors == {}
    assert b"Linux version" in files["dmesg"]
    assert b"Linux version" in files["journal"]
    assert b"agent-router" in files["journal"], "the agent's own words"
    assert b"VIRTIO-ONE" in files["lsblk"]
    assert b"10.0.2.15" in files["ip_addr"]
    # The commands that ran before, with their logs.
    assert any(guest.api.get("/v1/commands/")["commands"][0]["id"] in name for name in files), sorted(files)
    assert [name for name, text in files.items() if TOKEN.encode() in text] == [], "the token must not get out"
    assert b"ipa-agent-token=***" in files["dmesg"]
