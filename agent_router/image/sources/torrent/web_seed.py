"""Why a web seed gave nothing: libtorrent asks for ranges only, and does not tell of a server that has none."""

import dataclasses
import http.client

from agent_router import plugin
from agent_router.image.sources.http import errors
from agent_router.image.sources.http.client import HttpClient
from agent_router.image.sources.spec import Spec, shown

TIMEOUT_S = 3.0
MOST_ASKED = 3


def troubles(urls: list[str], spec: Spec) -> list[str]:
    """What is wrong with each of them, as far as one request tells. Headers are for the server of the torrent alone."""
    found = [_trouble(dataclasses.replace(spec, url=url, headers={})) for url in urls[:MOST_ASKED]]
    return [one for one in found if one]


def _trouble(spec: Spec) -> str:
    try:
        client = HttpClient(spec)
        exchange = client.get(client.start, {"Range": "bytes=0-0"}, TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        return f"{shown(spec.url)}: {errors.reason(error)}"
    except plugin.Failed as error:
        return error.message
    exchange.close()
    if exchange.response.status == 206:
        return ""
    return (
        f"the web seed {shown(spec.url)} does not support ranges, which BitTorrent needs: use a web server "
        "that does, or give its URL as the next source"
    )
