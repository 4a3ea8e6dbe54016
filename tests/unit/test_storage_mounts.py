import pytest

from agent_router.plugin import InvalidRequest
from agent_router.storage.mounts import inside


@pytest.fixture
def root(tmp_path):
    (tmp_path / "image/etc").mkdir(parents=True)
    return tmp_path / "image"


@pytest.mark.parametrize(("target", "path", "leads_to"), [
    ("/etc", "link/x", "etc/x"), ("etc", "link/x", "etc/x"), ("../../../etc", "link/x", "etc/x"),
    ("/", "link/x", "x"), ("etc/../etc/./a", "link", "etc/a"), ("/nowhere", "link/x", "nowhere/x"),
])  # fmt: skip
def test_a_link_stays_inside(root, target, path, leads_to):
    (root / "link").symlink_to(target)
    assert inside(root, path) == root / leads_to


@pytest.mark.parametrize("path", ["../../etc/x", "/../etc/x", "etc/../../etc/x", "/etc//./x"])
def test_dots_stay_inside(root, path):
    assert inside(root, path) == root / "etc/x"


def test_links_in_a_circle_are_noticed(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(InvalidRequest, match="too many levels"):
        inside(root, "a/x")
