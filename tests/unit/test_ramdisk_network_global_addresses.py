from agent_router.ramdisk.network import global_addresses

# ip -oneline address show scope global, iproute2 6.1
TEXT = """\
2: eth0    inet6 2001:db8::7/64 scope global dynamic mngtmpaddr \\       valid_lft 86390sec preferred_lft 14390sec
2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever preferred_lft forever
3: eth1    inet 198.51.100.1 peer 198.51.100.2/32 scope global eth1\\       valid_lft forever preferred_lft forever
"""


def test_ipv4_comes_first_without_prefix_length():
    assert global_addresses.parse(TEXT) == ["192.0.2.7", "198.51.100.1", "2001:db8::7"]


def test_other_lines_are_left_out():
    assert global_addresses.parse("\n5: x\n6: eth0    link/ether 52:54:00:00:00:01 brd ff:ff:ff:ff:ff:ff\n") == []


def test_waiting_ends_when_an_address_appears(monkeypatch):
    answers = [[], [], ["192.0.2.7"]]
    monkeypatch.setattr(global_addresses, "present", lambda: answers.pop(0))
    monkeypatch.setattr(global_addresses, "INTERVAL_S", 0.001)
    assert global_addresses.wait(60) == ["192.0.2.7"]


def test_waiting_has_an_end(monkeypatch):
    monkeypatch.setattr(global_addresses, "present", list)
    assert global_addresses.wait(0) == []
