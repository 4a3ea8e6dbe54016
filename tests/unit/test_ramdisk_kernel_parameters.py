import pytest

from agent_router.ramdisk import kernel_parameters


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("quiet\n", {"quiet": ""}),
        ("console=ttyS0,115200 ipa-debug=1", {"console": "ttyS0,115200", "ipa-debug": "1"}),
        ("a=1 a=2", {"a": "2"}),
        ("ipa-api-url=http://[fd00::1]:6385/?x=y", {"ipa-api-url": "http://[fd00::1]:6385/?x=y"}),
        ('sshkey="ssh-ed25519 AAAA me" agent.shell', {"sshkey": "ssh-ed25519 AAAA me", "agent.shell": ""}),
        ('x="a  b', {"x": "a  b"}),
        ("  a=1\t b=2  ", {"a": "1", "b": "2"}),
    ],
)
def test_the_line_is_split_as_the_kernel_does(line, expected):
    assert kernel_parameters.parse(line) == expected


def test_a_line_that_is_not_utf8_is_read(tmp_path):
    path = tmp_path / "cmdline"
    path.write_bytes(b"a=1 b=\xff\n")
    assert kernel_parameters.read(path) == {"a": "1", "b": "�"}
