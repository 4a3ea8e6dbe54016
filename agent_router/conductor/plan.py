"""What this boot is for, as the kernel command line tells."""

import os
from dataclasses import dataclass


@dataclass(slots=True)
class Plan:
    api_urls: list[str]
    inspection_url: str = ""
    inspect: bool = False
    advertise: str = ""
    request_id: str = ""
    collectors: str = ""
    node_uuid: str = ""
    token: str = ""
    cafile: str = ""
    insecure: bool = False
    advertise_port: int = 0


# Where virtual media bring the certificate of Ironic's own authority.
CAFILE = "/etc/ironic-python-agent/ironic.crt"


def plan_of(given: dict[str, str]) -> Plan | None:
    """None: nobody's conductor waits for this machine."""
    urls = [url.strip() for url in given.get("ipa-api-url", "").split(",") if url.strip()]
    inspection = given.get("ipa-inspection-callback-url", "")
    if not urls and not inspection:
        return None
    # A callback alone means: inspect, and nothing more. With an API too, inspection is part of a fast track.
    inspect = bool(inspection) or "ipa-inspection-collectors" in given
    return Plan(
        urls, inspection, inspect, given.get("ipa-advertise-host", ""), given.get("ipa-global-request-id", ""),
        given.get("ipa-inspection-collectors", ""), given.get("agent.node", ""),
        given.get("ipa-agent-token", ""), _cafile(given), given.get("ipa-insecure", "").lower() in {"1", "true", "yes"},
        _number(given.get("ipa-advertise-port", "")),
    )  # fmt: skip


def _cafile(given: dict[str, str]) -> str:
    return given.get("ipa-cafile") or (CAFILE if os.path.exists(CAFILE) else "")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
