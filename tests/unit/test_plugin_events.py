import pytest

from agent_router.plugin import events


@pytest.fixture
def sent(monkeypatch):
    found = []
    monkeypatch.setattr(events, "_send", found.append)
    return found


def test_overlapping_critical_sections_end_with_the_last(sent):
    """Two disks that erase themselves at the same time: the first one ready must not make the second killable."""
    first, second = events.critical(), events.critical()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sent == [{"critical": True}]
    second.__exit__(None, None, None)
    assert sent == [{"critical": True}, {"critical": False}]
