"""From the sources of a command to the list of those to try: Metalinks are followed, neighbours become mirrors."""

import dataclasses
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from agent_router import plugin
from agent_router.image.sources import metalink
from agent_router.image.sources.fetch import fetch
from agent_router.image.sources.http.connection import origin
from agent_router.image.sources.spec import Spec

METALINK_LIMIT = 1 << 20


def expand(specs: Iterable[Spec], failed: list[dict[str, Any]]) -> list[Spec]:
    """The specs to try, in order; fetches Metalinks.

    A Metalink that cannot be fetched is added to `failed`, as {"source", "code", "message"}, and skipped; if nothing
    else is left its error is raised. A spec gets the http sources that follow it at once as mirrors, provided that a
    digest verifies in the end that they had the same bytes: when it fails, those in stats()["failed"] of its source
    have been tried as well.
    """
    found: list[Spec] = []
    last: plugin.Failed | None = None
    for spec in specs:
        if not spec.is_metalink:
            found.append(spec)
            continue
        try:
            found += _follow(spec)
        except plugin.Failed as error:
            failed.append({"source": spec.name, "code": error.code, "message": error.message})
            last = error
    if not found and last is not None:
        raise last
    return [_with_mirrors(spec, found[at + 1 :]) for at, spec in enumerate(found)]


def _follow(spec: Spec) -> list[Spec]:
    listed = metalink.parse(fetch(spec, METALINK_LIMIT), spec.name)
    # The command is the authority; a Metalink is only believed where the command says nothing.
    digest = None if spec.digest_known else listed.digest
    common = dataclasses.replace(
        spec,
        digest=digest,
        digest_known=spec.digest_known or digest is not None,
        extras={**spec.extras, "server": spec.url},
        size_bytes=listed.size_bytes if spec.size_bytes is None else spec.size_bytes,
    )
    return [
        # Headers (a token) are for the server of the Metalink, not for the servers that it names.
        dataclasses.replace(common, url=url, headers=spec.headers if origin(url) == origin(spec.url) else {})
        for url in listed.urls
    ]


def _with_mirrors(spec: Spec, after: list[Spec]) -> Spec:
    if spec.transport != "http" or not spec.digest_known:
        return spec
    same = takewhile(lambda one: one.transport == "http" and one.digest_known and one.digest == spec.digest, after)
    return dataclasses.replace(spec, mirrors=tuple(same))
