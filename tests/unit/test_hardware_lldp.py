import errno
import socket

import pytest

from agent_router.hardware import lldp

ANNOUNCED = "02070452540000aaff" + "040b0545746865726e65742f31" + "06020078" + "0a06737769746368"
TLVS = [(1, "0452540000aaff"), (2, "0545746865726e65742f31"), (3, "0078"), (5, "737769746368"), (0, "")]


@pytest.mark.parametrize("rest", ["0000", "0000" + "00" * 20, "0000" + "ff" * 7])
def test_what_follows_the_end_is_padding(rest):
    assert lldp.parse(bytes.fromhex(ANNOUNCED + rest)) == TLVS


def test_an_announcement_without_end_counts():
    assert lldp.parse(bytes.fromhex(ANNOUNCED)) == TLVS[:-1]


def test_the_length_has_nine_bits():
    long = bytes([127 << 1 | 1, 0xFF]) + b"\xab" * 511
    assert lldp.parse(bytes.fromhex(ANNOUNCED) + long)[-1] == (127, "ab" * 511)


@pytest.mark.parametrize("payload", [
    "", "02", "0000", "ff" * 60, ANNOUNCED[:-2],
    ANNOUNCED[18:],                                              # no chassis
    ANNOUNCED[:18] + "06020078" + "040b0545746865726e65742f31",  # not in the order of the standard
    ANNOUNCED.replace("06020078", "06020000"), ANNOUNCED.replace("06020078", "0600"),
])  # fmt: skip
def test_what_is_broken_or_says_goodbye_is_nothing(payload):
    assert lldp.parse(bytes.fromhex(payload)) == []


@pytest.mark.parametrize(("text", "seconds"), [
    (None, 35), ("60", 60), ("0.5", 0.5), ("1e9", 600), ("0", 35), ("-5", 35), ("soon", 35), ("nan", 35), ("", 35),
])  # fmt: skip
def test_how_long_the_kernel_command_line_says(text, seconds):
    assert lldp.listen_s({} if text is None else {"ipa-lldp-timeout": text}) == seconds


class Ear:
    """A socket that hears (interface, direction, payload) one after the other, then nothing."""

    def __init__(self, *frames):
        self.frames = list(frames)

    def settimeout(self, seconds):
        assert 0 < seconds <= lldp.CARRIER_CHECK_S

    def recvfrom(self, size):
        if not self.frames:
            raise TimeoutError
        name, direction, payload = self.frames.pop(0)
        return bytes.fromhex(payload), (name, lldp.ETHERTYPE, direction, 1, b"")


def links(sys, **carriers):
    for name, carrier in carriers.items():
        (sys / "class/net" / name).mkdir(parents=True)
        (sys / "class/net" / name / "carrier").write_text(f"{carrier}\n")
        (sys / "class/net" / name / "type").write_text("1\n")
    return sys


def hear(sys, ear, *names, seconds=600.0):
    return dict(lldp.announcements(ear, list(names), seconds, sys))


def test_ends_when_all_with_a_link_were_heard(tmp_path):
    links(tmp_path, eth0=1, eth1=0, eth2=1)
    ear = Ear(("eth2", 1, ANNOUNCED), ("eth0", 1, ANNOUNCED), ("eth0", 1, "not asked for"))
    assert set(hear(tmp_path, ear, "eth0", "eth1", "eth2")) == {"eth0", "eth2"}
    assert len(ear.frames) == 1


def test_the_first_good_announcement_of_an_interface_counts(tmp_path):
    links(tmp_path, eth0=1, eth1=1)
    other = ANNOUNCED + "0000"
    ear = Ear(
        ("eth0", 1, "ffff"),
        ("eth0", lldp.PACKET_OUTGOING, other),
        ("eth9", 1, other),
        ("eth0", 1, ANNOUNCED),
        ("eth0", 1, other),
        ("eth1", 1, other),
    )
    assert hear(tmp_path, ear, "eth0", "eth1") == {"eth0": TLVS[:-1], "eth1": TLVS}


def test_ends_when_the_time_is_over(tmp_path):
    assert hear(links(tmp_path, eth0=1), Ear(), "eth0", seconds=0.01) == {}


def test_a_link_that_goes_is_not_waited_for(tmp_path):
    links(tmp_path, eth0=1)

    class Unplugged(Ear):
        def recvfrom(self, size):
            (tmp_path / "class/net/eth0/carrier").write_text("0\n")
            raise TimeoutError

    assert hear(tmp_path, Unplugged(), "eth0") == {}


@pytest.mark.parametrize("error", [errno.EPERM, errno.EAFNOSUPPORT])
def test_where_nothing_can_be_heard_the_answer_says_so(tmp_path, monkeypatch, error):
    said: list[str] = []
    monkeypatch.setattr(lldp.plugin, "warn", said.append)

    def refuse(*args):
        raise OSError(error, "no such luck")

    monkeypatch.setattr(socket, "socket", refuse)
    assert lldp.listen(600, links(tmp_path, eth0=1)) == {"eth0": []}
    assert said == ["cannot listen for LLDP: no such luck"]


def test_an_interface_that_disappears_causes_a_warning(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(lldp.plugin, "warn", said.append)
    lldp.join(Ear(), ["no-such-interface"])
    assert len(said) == 1
    assert said[0].startswith("LLDP may not be received on no-such-interface: ")


def test_ethernet_only(tmp_path, monkeypatch):
    links(tmp_path, eth0=0, ib0=1)
    (tmp_path / "class/net/ib0/type").write_text("32\n")
    monkeypatch.setattr(socket, "socket", lambda *args: (_ for _ in ()).throw(OSError(1, "no")))
    assert list(lldp.listen(1, tmp_path)) == ["eth0"]
