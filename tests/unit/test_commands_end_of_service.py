from agent_router.commands import end_of_service as closing
from agent_router.commands.end_of_service import Closed


def test_what_was_written_is_read(tmp_path):
    state = str(tmp_path)
    assert closing.closed(state) is None
    closing.close(state, Closed("network", "system.lockdown"))
    assert closing.closed(state) == Closed("network", "system.lockdown")
    assert [path.name for path in tmp_path.iterdir()] == ["closed"]
    closing.close(state, Closed("agent", "a.b"))
    assert closing.closed(state) == Closed("agent", "a.b")


def test_half_a_file_counts_too(tmp_path):
    """What is there at all has ended the serving: to serve again would be the worse mistake."""
    (tmp_path / "closed").touch()
    assert closing.closed(str(tmp_path)) == Closed("", "")
