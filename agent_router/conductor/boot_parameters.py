"""What this boot is for, according to the kernel command line."""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent_router.config.settings import SettingsError

# Where virtual media put the certificate of Ironic's own CA.
CAFILE = "/etc/ironic-python-agent/ironic.crt"
TRUE = {"1", "true", "yes", "on"}
DHCP_WAIT_S = 60


@dataclass(slots=True)
class BootParameters:
    api_urls: list[str]
    inspection_urls: list[str]
    inspect: bool = False
    advertise: str = ""
    request_id: str = ""
    collectors: str = ""
    node_uuid: str = ""
    token: str = ""
    cafile: str = ""
    insecure: bool = False
    advertise_port: int = 0
    boot_mac: str = ""
    dhcp_wait_s: int = DHCP_WAIT_S
    dhcp_all: bool = False
    tls_minimum: str = ""
    tls_ciphers: str = ""

    @property
    def urls(self) -> list[str]:
        """Where Ironic is; the route there gives this machine's own address."""
        return self.api_urls or self.inspection_urls


def boot_parameters(given: dict[str, str]) -> BootParameters | None:
    """None: no conductor is waiting for this machine. SettingsError for an invalid URL."""
    urls, inspection = _urls(given, "ipa-api-url"), _urls(given, "ipa-inspection-callback-url")
    if not urls and not inspection:
        if _true(given, "ipa-use-mdns"):
            raise SettingsError(no_mdns("ipa-use-mdns"))
        return None
    return BootParameters(
        urls,
        inspection,
        # A callback alone means: inspect, and nothing more. With an API too, inspection is part of a fast track.
        inspect=bool(inspection) or "ipa-inspection-collectors" in given,
        advertise=given.get("ipa-advertise-host", "").strip("[]"),
        request_id=given.get("ipa-global-request-id", ""),
        collectors=given.get("ipa-inspection-collectors", ""),
        node_uuid=given.get("agent.node", ""),
        token=given.get("ipa-agent-token", ""),
        cafile=given.get("ipa-cafile") or (CAFILE if os.path.exists(CAFILE) else ""),
        insecure=_true(given, "ipa-insecure"),
        advertise_port=number(given, "ipa-advertise-port", 0),
        boot_mac=given.get("BOOTIF", ""),
        dhcp_wait_s=number(given, "ipa-inspection-dhcp-wait-timeout", DHCP_WAIT_S),
        dhcp_all=_true(given, "ipa-inspection-dhcp-all-interfaces"),
        tls_minimum=given.get("ipa-tls-min-version", ""),
        tls_ciphers=given.get("ipa-tls-cipher-suites", ""),
    )


def _urls(given: dict[str, str], name: str) -> list[str]:
    found = [url.strip() for url in given.get(name, "").split(",") if url.strip()]
    for url in found:
        if url == "mdns":
            raise SettingsError(no_mdns(f"{name}=mdns"))
        if not is_url(url):
            raise SettingsError(f"{name}: {url!r} is not a URL; give one such as http://192.0.2.1:6385")
    return found


def no_mdns(parameter: str) -> str:
    return (
        f"{parameter} is not supported, because anyone on the network could answer it and take over this machine; "
        "name Ironic itself, as in ipa-api-url=http://192.0.2.1:6385"
    )


def is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def number(given: dict[str, str], name: str, default: int) -> int:
    """A non-negative integer; the default for anything else."""
    text = given.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _true(given: dict[str, str], name: str) -> bool:
    return given.get(name, "").lower() in TRUE
