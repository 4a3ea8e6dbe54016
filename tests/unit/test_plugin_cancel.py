import signal

import pytest

from agent_router.plugin.cancel import Cancelled, ignore_sigterm, raise_on_sigterm


@pytest.fixture(autouse=True)
def handler_as_before():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_first_sigterm_is_raised_and_the_second_does_not_interrupt_the_cleanup():
    raise_on_sigterm()
    with pytest.raises(Cancelled):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)


def test_no_except_exception_catches_it():
    assert not issubclass(Cancelled, Exception)


def test_ignored_from_here_on():
    raise_on_sigterm()
    ignore_sigterm()
    signal.raise_signal(signal.SIGTERM)
