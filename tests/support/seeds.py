"""Run one test with many random inputs: it is one test case, and a failure names the seed."""

from collections.abc import Callable


def seeds(count: int) -> Callable[[Callable[[int], None]], Callable[[], None]]:
    """The test is called with each seed from 0 on."""

    def decorate(test: Callable[[int], None]) -> Callable[[], None]:
        def run() -> None:
            for seed in range(count):
                try:
                    test(seed)
                except BaseException as error:
                    error.add_note(f"with seed {seed}")
                    raise

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate
