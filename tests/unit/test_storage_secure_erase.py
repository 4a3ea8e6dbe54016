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
    ("", "", "not", None, "password"),
    ("", "not", "not", None, "password"),
])  # fmt: skip
def test_ata_ability(enabled, locked, frozen, kind, reason):
    found, why = secure_erase.ata_ability(SECURITY.format(enabled, locked, frozen))
    assert found == kind
    assert reason in why


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
        (*user, "--security-set-pass", "agent-router", "/dev/sdx"),
        (*user, "--security-erase-enhanced", "agent-router", "/dev/sdx"),
        ("hdparm", "-I", "/dev/sdx"),
    ]


def test_a_failed_ata_erase_takes_its_password_away_again(monkeypatch):
    calls = []

    def tool(*argv):
        calls.append(argv[3])
        if argv[3] == "--security-erase":
            raise Failed("tool_failed", "hdparm ended with 5")

    monkeypatch.setattr(secure_erase.plugin, "tool", tool)
    with pytest.raises(Failed, match="hdparm ended"):
        secure_erase.run("ata", "sdx")
    assert calls == ["--security-set-pass", "--security-erase", "--security-disable"]
