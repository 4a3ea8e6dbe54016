import pytest

from agent_router.plugin import Failed
from agent_router.storage import secure_erase

# The layout of hdparm(8) -I: one line per word, the negated ones with "not" in front.
SECURITY = """
Commands/features:
\tEnabled\tSupported:
\t   *\tSMART feature set
\t    \tSecurity Mode feature set
Security:
\tMaster password revision code = 65534
\t\tsupported
\t{}\tenabled
\t{}\tlocked
\t{}\tfrozen
\tnot\texpired: security count
\t\tsupported: enhanced erase
\t2min for SECURITY ERASE UNIT. 2min for ENHANCED SECURITY ERASE UNIT.
Logical Unit WWN Device Identifier: 5002538e40a22954
"""


@pytest.mark.parametrize(("enabled", "locked", "frozen", "kind", "reason"), [
    ("not", "not", "not", "ata-enhanced", ""),
    ("not", "not", "", None, "frozen"),
    ("", "", "not", "ata-enhanced", ""),
    ("", "not", "not", "ata-enhanced", ""),
])  # fmt: skip
def test_ata_ability(enabled, locked, frozen, kind, reason):
    found, why = secure_erase.ata_ability(SECURITY.format(enabled, locked, frozen))
    assert found == kind
    assert reason in why


def test_a_disk_that_takes_no_more_passwords():
    text = SECURITY.format("", "", "not").replace("not\texpired", "\texpired")
    assert secure_erase.ata_ability(text) == (None, secure_erase.EXPIRED)


def test_ata_without_enhanced_erase():
    text = SECURITY.format("not", "not", "not").replace("\t\tsupported: enhanced erase\n", "")
    assert secure_erase.ata_ability(text) == ("ata", "")


@pytest.mark.parametrize("text", ["", "/dev/sda:\nATA device\n", "Security:\n\tnot\tsupported\n"])
def test_ata_without_security(text):
    assert secure_erase.ata_ability(text)[0] is None


@pytest.mark.parametrize(("identity", "namespaces", "kind"), [
    ({"oacs": 0b10, "fna": 0b100}, 1, "nvme-crypto"),
    ({"oacs": 0b10, "fna": 0}, 1, "nvme-user-data"),
    ({"oacs": 0b10, "fna": 0}, 2, "nvme-user-data"),
    ({"oacs": 0b10, "fna": 0b111}, 2, None),
    ({"oacs": 0b10, "fna": 0b010}, 2, None),
    ({"oacs": 0b10, "fna": 0b111}, 1, "nvme-crypto"),
    ({"oacs": 0, "fna": 0b100}, 1, None),
    ({}, 1, None),
])  # fmt: skip
def test_nvme_ability(identity, namespaces, kind):
    assert secure_erase.nvme_ability(identity, namespaces)[0] == kind


def test_an_unknown_disk_has_no_ability(monkeypatch, tmp_path):
    monkeypatch.setattr(secure_erase.blockdev, "SYS", tmp_path)
    assert secure_erase.ability("vdb") == (None, "vdb is neither an NVMe nor an ATA disk")


@pytest.fixture
def tools(monkeypatch):
    calls = []
    monkeypatch.setattr(secure_erase.plugin, "tool", lambda *argv: calls.append(argv) or SECURITY.format(*["not"] * 3))
    return calls


@pytest.mark.parametrize(("kind", "mode"), [("nvme-crypto", "--ses=2"), ("nvme-user-data", "--ses=1")])
def test_nvme_arguments(tools, kind, mode):
    secure_erase.run(kind, "nvme9n1")
    assert tools == [("nvme", "format", "/dev/nvme9n1", mode, "--force")]


def test_ata_arguments(tools):
    secure_erase.run("ata-enhanced", "sdx")
    user = ("hdparm", "--user-master", "u")
    assert tools == [
        ("hdparm", "-I", "/dev/sdx"),
        (*user, "--security-set-pass", "agent-router", "/dev/sdx"),
        (*user, "--security-erase-enhanced", "agent-router", "/dev/sdx"),
        ("hdparm", "-I", "/dev/sdx"),
    ]


class Drive:
    """An ATA disk as it answers hdparm: one password, "" for none; `locked` since its last power cycle."""

    def __init__(self, password="", locked=False, power_fails=False):
        self.password, self.locked, self.power_fails = password, locked, power_fails
        self.calls = []

    def tool(self, *argv):
        if argv[1] == "-I":
            return SECURITY.format("" if self.password else "not", "" if self.locked else "not", "not")
        option, given = argv[3:5]
        self.calls.append((option, given))
        if option == "--security-set-pass":
            self.password = given
        elif given != self.password or (self.locked and option == "--security-disable"):
            raise Failed("tool_failed", "SG_IO: bad/missing sense data")
        elif option == "--security-unlock":
            self.locked = False
        elif self.power_fails and option.startswith("--security-erase"):
            raise Failed("tool_failed", "hdparm ended with 5")
        else:
            self.password = ""
        return ""


def erased(monkeypatch, drive):
    monkeypatch.setattr(secure_erase.plugin, "tool", drive.tool)
    secure_erase.run("ata", "sdx")


def test_a_failed_ata_erase_takes_its_password_away_again(monkeypatch):
    drive = Drive(power_fails=True)
    with pytest.raises(Failed, match="hdparm ended"):
        erased(monkeypatch, drive)
    assert [option for option, _ in drive.calls] == ["--security-set-pass", "--security-erase", "--security-disable"]
    assert drive.password == ""


@pytest.mark.parametrize("password", ["agent-router", "NULL"])
@pytest.mark.parametrize("locked", [True, False])
def test_an_erase_that_was_cut_off_is_begun_again(monkeypatch, password, locked):
    drive = Drive(password, locked)
    erased(monkeypatch, drive)
    assert (drive.password, drive.locked) == ("", False)
    assert drive.calls[-1][0] == "--security-erase"


@pytest.mark.parametrize("locked", [True, False])
def test_the_password_of_somebody_else_is_named_with_what_is_left_to_do(monkeypatch, locked):
    drive = Drive("tenant's", locked)
    with pytest.raises(Failed, match=r"neither this agent.s nor empty; remove it") as failed:
        erased(monkeypatch, drive)
    assert failed.value.code == "locked"
    assert len(drive.calls) == 2, "a disk allows five attempts"


def test_a_password_that_stays_after_the_erase_is_named(monkeypatch):
    drive = Drive()
    monkeypatch.setattr(drive, "tool", lambda *argv: SECURITY.format("", "", "not") if argv[1] == "-I" else "")
    with pytest.raises(Failed, match="still has the password 'agent-router' after its erase; power it off and on"):
        erased(monkeypatch, drive)


@pytest.mark.parametrize("password", ["agent-router", "NULL"])
def test_a_locked_disk_is_unlocked_before_it_is_overwritten(monkeypatch, password):
    drive = Drive(password, locked=True)
    monkeypatch.setattr(secure_erase.plugin, "tool", drive.tool)
    monkeypatch.setattr(secure_erase, "is_ata", lambda name: name == "sda")
    secure_erase.unlock("vda")
    assert drive.locked
    secure_erase.unlock("sda")
    assert (drive.password, drive.locked) == ("", False)


def test_a_disk_that_is_not_locked_is_asked_nothing_more(monkeypatch):
    drive = Drive("tenant's", locked=False)
    monkeypatch.setattr(secure_erase.plugin, "tool", drive.tool)
    monkeypatch.setattr(secure_erase, "is_ata", lambda name: True)
    secure_erase.unlock("sda")
    assert drive.calls == []
