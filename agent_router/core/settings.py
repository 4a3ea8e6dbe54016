"""Settings of the agent: command line, then environment (AGENT_ROUTER_…), then one TOML file, then defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MIB = 1 << 20


class SettingsError(Exception):
    """A setting cannot be used; str() names the setting, the cause and the cure."""


@dataclass(slots=True)
class Settings:
    """Every field is also an option of `agent-router serve`, an AGENT_ROUTER_… variable and a TOML key."""

    host: str = "127.0.0.1"
    port: int = 9999
    token: str = ""
    cert: str = ""
    key: str = ""
    plugins: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    bundled: bool = True
    state: str = "/run/agent-router"
    devices: list[str] = field(default_factory=list)
    insecure: bool = False
    max_request_mib: float = 8
    history: int = 10_000

    def plugin_dirs(self) -> list[Path]:
        return self._dirs("plugins.d", self.plugins)

    def schema_dirs(self) -> list[Path]:
        return self._dirs("schemas", self.schemas)

    def _dirs(self, kind: str, own: list[str]) -> list[Path]:
        found = [bundled_dir(kind)] if self.bundled else []
        return found + [Path(path) for path in own or [f"/etc/agent-router/{kind}"]]

    def check(self) -> None:
        """Refuse what would be unsafe or cannot work."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not between 0 (any free one) and 65535")
        if bool(self.cert) != bool(self.key):
            raise SettingsError("cert and key go together: give both, or neither for plain HTTP")
        for name in ("cert", "key"):
            path = getattr(self, name)
            if path and not os.access(path, os.R_OK):
                raise SettingsError(f"{name} {path} cannot be read; give the path of a PEM file")
        if self.token and len(self.token) < 16:
            raise SettingsError("token is shorter than 16 characters; take for example `openssl rand -hex 24`")
        lacking = [name for name, value in (("token", self.token), ("cert and key", self.cert)) if not value]
        if lacking and not self.insecure and not is_loopback(self.host):
            raise SettingsError(
                f"refusing to listen on {self.host} without {' and without '.join(lacking)}: anyone who reaches "
                "the port could erase the disks; give them, or listen on 127.0.0.1, or say --insecure"
            )


def is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bundled_dir(kind: str) -> Path:
    """plugins.d or schemas: beside the package in a checkout, below share/ in an installation."""
    import sysconfig

    beside = Path(__file__).resolve().parents[2] / kind
    return beside if beside.is_dir() else Path(sysconfig.get_path("data")) / "share/agent-router" / kind


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str = "") -> Settings:
    """Merge the sources; `flags` holds only what was given on the command line."""
    config = config or environ.get("AGENT_ROUTER_CONFIG", "")
    merged = {**(_from_file(config) if config else {}), **_from_environ(environ), **flags}
    settings = Settings(**merged)
    settings.check()
    return settings


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for item in fields(Settings):
        text = environ.get(f"AGENT_ROUTER_{item.name.upper()}")
        if text is not None:
            found[item.name] = convert(item.name, text, f"AGENT_ROUTER_{item.name.upper()}")
    return found


def _from_file(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    known = {item.name for item in fields(Settings)}
    for name in data:
        if name not in known:
            raise SettingsError(f"settings file {path}: {name} is unknown; known are {', '.join(sorted(known))}")
    return {name: convert(name, value, f"settings file {path}: {name}") for name, value in data.items()}


def convert(name: str, value: Any, source: str) -> Any:
    """`value` as the type of the setting `name`; text is split at commas for lists."""
    default = {item.name: item.type for item in fields(Settings)}[name]
    if default is bool or default == "bool":
        return _boolean(value, source)
    if default == list[str]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise SettingsError(f"{source} must be a list of strings")
        return [item for item in items if item]
    kind = {int: int, float: float, str: str}[default]  # type: ignore[index]
    good = isinstance(value, str) or (kind is not str and isinstance(value, int | float) and value is not True)
    try:
        if good:
            return kind(value)
    except ValueError:
        pass
    raise SettingsError(f"{source} must be of type {kind.__name__}, not {value!r}")


def _boolean(value: Any, source: str) -> bool:
    text = str(value).lower()
    if text not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise SettingsError(f"{source} must be true or false, not {value!r}")
    return text in ("1", "true", "yes", "on")
