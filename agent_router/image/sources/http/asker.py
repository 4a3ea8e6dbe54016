"""Ask a web server for an image or a part of it, as often as it takes: the one place that decides about retries."""

import http.client
from collections.abc import Container

from agent_router import plugin
from agent_router.image.sources.http import errors
from agent_router.image.sources.http.client import Exchange, HttpClient
from agent_router.image.sources.http.connection import ErrorStatus
from agent_router.image.sources.http.ranges import Version, vouched
from agent_router.image.sources.http.retry_budget import RetryBudget
from agent_router.image.sources.spec import Spec


class Asker:
    """`first` is the version of which parts are wanted, `location` where it was found.

    If a digest will judge the image, it alone decides: the nodes behind a load balancer may have ETags of their own.
    Otherwise If-Range asks for parts of that version only; of a server that gives the whole in spite of the right ETag
    a part is asked for without it, and must have that ETag (`strict`).
    """

    def __init__(self, spec: Spec, client: HttpClient) -> None:
        self.budget = RetryBudget(spec.patience_s)
        self.first: Version | None = None
        self.location = client.start
        self.strict = False
        self._spec, self._client = spec, client

    @property
    def judge(self) -> Version | None:
        """What parts are compared with."""
        return None if self._spec.digest_known else self.first

    @property
    def safe(self) -> bool:
        """Whether a mix of two versions would be noticed."""
        return self._spec.digest_known or (self.first is not None and self.first.validator is not None)

    def ask(self, start: int, end: int | None = None, *, told: Container[int] = ()) -> Exchange:
        """The answer to a request for the bytes from `start` to `end`, included; None: to the end of the image.

        Raises Failed when it is useless to go on, and ErrorStatus for the statuses in `told`.
        """
        while True:
            headers = self._headers(start, end)
            try:
                exchange = self._client.get(self.location, headers, self.budget.timeout_s)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, ErrorStatus) and error.status in told:
                    raise
                self._try_later(error, start if end is None else 0)
                continue
            if "If-Range" not in headers or exchange.response.status != 200 or not self._is_first(exchange):
                return exchange
            exchange.close()
            self.strict = True

    def wait(self, trouble: str, offset: int, at_least_s: float = 0.0) -> None:
        """Pause before the next try; raises Failed("connection_lost") if it is unsafe or time is up."""
        message = f"{self._spec.name}: {trouble}"
        self.budget.refuse_stopped(self._spec.name)
        if offset and not self.safe:
            message += "; without an ETag or a digest it is not safe to resume"
            raise plugin.Failed("connection_lost", message)
        self.budget.wait(message, at_least_s)

    def _try_later(self, error: Exception, offset: int) -> None:
        # Where a redirect led to may be gone by now, or was good for a while only.
        elsewhere, self.location = self.location != self._client.start, self._client.start
        if errors.hopeless(error) and not elsewhere:
            raise errors.failed(self._spec.name, error) from None
        try:
            self.wait(errors.reason(error), offset, getattr(error, "retry_after_s", 0.0))
        except plugin.Failed as given_up:
            # Nothing was lost if it never began: then the plain reason is the better message.
            if offset == 0 and given_up.code != "stopped":
                raise errors.failed(self._spec.name, error) from None
            raise

    def _headers(self, start: int, end: int | None) -> dict[str, str]:
        if not start and end is None:
            return {}
        headers = {"Range": f"bytes={start}-{'' if end is None else end}"}
        if self.judge is not None and self.judge.validator and not self.strict:
            headers["If-Range"] = self.judge.validator
        return headers

    def _is_first(self, exchange: Exchange) -> bool:
        return self.first is not None and vouched(exchange.response, exchange.location.url, self.first)
