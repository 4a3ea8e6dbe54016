import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("sources_py", ROOT / "tools/ramdisk/sources.py")
sources_py = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources_py)

Source = sources_py.Source

DEB822 = """\
# a comment: before
Types: deb deb-src
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm
 bookworm-updates
# Suites: sid
Components: main
Signed-By: /usr/share/keyrings/a.gpg
"""


def test_deb822_every_uri_and_suite():
    key = "/usr/share/keyrings/a.gpg"
    assert list(sources_py.deb822(DEB822)) == [
        Source(f"http://{host}.example/debian", suite, ["main"], key)
        for host in ("one", "two")
        for suite in ("bookworm", "bookworm-updates")
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("Types: deb deb-src", "Types: deb-src"),
        ("Types:", "Enabled: no\nTypes:"),
        ("Types:", "enabled: No\nTypes:"),
    ],
)
def test_deb822_what_is_not_in_use(change):
    assert list(sources_py.deb822(DEB822.replace(*change))) == []


def test_deb822_paragraphs_fields_in_any_case_and_none():
    first = "types: deb\nuris: http://x/\nsuites: bookworm\ncomponents: main contrib\n"
    text = f"\n\n# only a comment\n\n{first}  \n{DEB822}"
    found = list(sources_py.deb822(text))
    assert found[0] == Source("http://x/", "bookworm", ["main", "contrib"], "")
    assert len(found) == 5
    assert list(sources_py.deb822("")) == []


def test_deb822_enabled_said_and_a_key_written_in_the_file():
    text = DEB822.replace("Types:", "Enabled: yes\nTypes:").replace(
        "Signed-By: /usr/share/keyrings/a.gpg", "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY\n"
    )
    assert {source.signed_by for source in sources_py.deb822(text)} == {""}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://x/debian bookworm main", Source("http://x/debian", "bookworm", ["main"], "")),
        ("  deb\thttp://x/ bookworm main contrib # note", Source("http://x/", "bookworm", ["main", "contrib"], "")),
        ("deb [signed-by=/k.gpg] http://x/ bookworm main", Source("http://x/", "bookworm", ["main"], "/k.gpg")),
        ("deb [ arch=amd64 signed-by=/k.gpg ] http://x/ sid main", Source("http://x/", "sid", ["main"], "/k.gpg")),
        ("deb [trusted=yes] http://x/ bookworm main", Source("http://x/", "bookworm", ["main"], "")),
        ("# deb http://x/ bookworm main", None),
        ("deb-src http://x/ bookworm main", None),
        ("", None),
    ],
)
def test_one_line(line, expected):
    assert list(sources_py.one_line(line)) == ([expected] if expected else [])


def test_a_source_as_a_line():
    assert Source("http://x/", "bookworm", ["main", "contrib"], "").line() == "deb http://x/ bookworm main contrib"
    assert Source("http://x/", "bookworm", ["main"], "/k").line() == "deb [signed-by=/k] http://x/ bookworm main"


@pytest.fixture
def apt(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822.replace(" http://two.example/debian", ""))
    (tmp_path / "sources.list.d/security.list").write_text("deb http://three.example/security bookworm-security main\n")
    (tmp_path / "sources.list.d/vendor.list").write_text("deb http://vendor.example/ nodistro main\n")
    (tmp_path / "sources.list.d/old.list.save").write_text("deb http://old.example/ bookworm main\n")
    (tmp_path / "sources.list").write_text("deb http://four.example/debian trixie main\n")
    return tmp_path


def test_both_formats_and_only_the_own_release(apt):
    found = sources_py.sources("bookworm", apt)
    assert [(source.uri, source.suite) for source in found] == [
        ("http://one.example/debian", "bookworm"),
        ("http://one.example/debian", "bookworm-updates"),
        ("http://three.example/security", "bookworm-security"),
    ]


def test_no_file_at_all(tmp_path):
    assert sources_py.sources("bookworm", tmp_path) == []


def test_variables_of_diskimage_builder(apt):
    found = sources_py.sources("bookworm", apt)
    assert sources_py.dib_variables(found, "bookworm") == {
        "DIB_RELEASE": "bookworm",
        "DIB_DISTRIBUTION_MIRROR": "http://one.example/debian",
        "DIB_DEBIAN_SECURITY_MIRROR": "http://three.example/security",
    }
    assert sources_py.dib_variables([], "bookworm") == {"DIB_RELEASE": "bookworm"}
