"""Settings of the agent: command line, then environment (AGENT_ROUTER_…), then one TOML file, then defaults."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MIB = 1 << 20
MAX_REQUEST_MIB = 512  # a request is held in memory several times
# sun_path has 108 bytes with the null at its end (unix(7)); the longest name below the directory is /runner.sock.
STATE_MAX_BYTES = 107 - len("/runner.sock")
LEAST_TOKEN, MOST_TOKEN = 16, 4096  # characters
GOOD_TOKEN = "`openssl rand -hex 24` makes a good one"


class SettingsError(Exception):
    """A setting cannot be used; str() names the setting, the cause and the cure."""


class Settings:
    """Every field is also an option of `agent-router serve`, an AGENT_ROUTER_… variable and a TOML key.

    No dataclass: that module alone would be a tenth of what the warm interpreter has to carry.
    """

    host: str = "127.0.0.1"
    port: int = 9999
    token: str = ""
    token_file: str = ""
    cert: str = ""
    key: str = ""
    plugins: list[str] = []  # noqa: RUF012 (copied by __init__)
    schemas: list[str] = []  # noqa: RUF012
    bundled: bool = True
    state: str = "/run/agent-router"
    devices: list[str] = []  # noqa: RUF012
    insecure: bool = False
    max_request_mib: float = 8
    history: int = 10_000
    notices: str = "/run/agent-router.notices"

    def __init__(self, **given: Any) -> None:
        for name in KINDS:
            value = given.pop(name, getattr(Settings, name))
            setattr(self, name, list(value) if isinstance(value, list) else value)
        if given:
            raise TypeError(f"no setting is called {', '.join(given)}")

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
        if not 0 < self.max_request_mib <= MAX_REQUEST_MIB:
            raise SettingsError(f"max_request_mib {self.max_request_mib:g} is not between 0 and {MAX_REQUEST_MIB}")
        if len(os.fsencode(self.state)) > STATE_MAX_BYTES:
            raise SettingsError(
                f"state {self.state} is longer than {STATE_MAX_BYTES} bytes, too long for the name of a socket in it; "
                "choose a shorter path"
            )
        if self.history < 1:
            raise SettingsError(f"history {self.history} is not a number of commands above 0")
        if bool(self.cert) != bool(self.key):
            raise SettingsError("cert and key go together: give both, or neither for plain HTTP")
        if self.cert:
            _check_pair(self.cert, self.key)
        if self.token:
            check_token(self.token, self.host)
        elif self.token_file:
            self.token = token_in(self.token_file, self.host)
        lacking = [name for name, value in (("token", self.token), ("cert and key", self.cert)) if not value]
        if lacking and not self.insecure and not is_loopback(self.host):
            raise SettingsError(
                f"refusing to listen on {self.host} without {' and without '.join(lacking)}: anyone who reaches "
                "the port could erase the disks; give them, or listen on 127.0.0.1, or say --insecure"
            )


KINDS: dict[str, Any] = dict(Settings.__annotations__)


def check_token(token: str, host: str, name: str = "token") -> None:
    """Refuse a token that no header can carry, or that is too short for `host`; the message calls it `name`."""
    if not token.isprintable() or token != token.strip():
        raise SettingsError(f"{name} has white space around it, or a control character in it; {GOOD_TOKEN}")
    if len(token) < LEAST_TOKEN and not is_loopback(host):
        raise SettingsError(f"{name} is shorter than {LEAST_TOKEN} characters, too short beyond loopback; {GOOD_TOKEN}")


def token_in(path: str, host: str) -> str:
    """What stands in the file `path`, checked; nothing is a mistake there, since it would let everybody in."""
    try:
        with open(path) as file:
            found = file.read(MOST_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"token_file {path} cannot be read: {error}; give the path of a text file") from None
    if not found:
        raise SettingsError(f"token_file {path} is empty; {GOOD_TOKEN}")
    if len(found) > MOST_TOKEN:
        raise SettingsError(f"token_file {path} holds more than {MOST_TOKEN} characters; {GOOD_TOKEN}")
    check_token(found, host, f"the token in {path}")
    return found


def token_warning(token: str) -> str:
    """A sentence about a token that is good enough for loopback only; "" for a longer one, or none."""
    if not token or len(token) >= LEAST_TOKEN:
        return ""
    return f"token is shorter than {LEAST_TOKEN} characters, which will do on loopback only; {GOOD_TOKEN}"


def _check_pair(cert: str, key: str) -> None:
    import ssl

    for name, path in (("cert", cert), ("key", key)):
        if not os.access(path, os.R_OK):
            raise SettingsError(f"{name} {path} cannot be read; give the path of a PEM file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"cert {cert} and key {key} cannot be used together: {error}") from None


def is_loopback(host: str) -> bool:
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            address = socket.inet_pton(family, host.strip("[]"))
        except OSError:
            continue
        return address[0] == 127 if family == socket.AF_INET else int.from_bytes(address) == 1
    return host == "localhost"


def bundled_dir(kind: str) -> Path:
    """plugins.d or schemas: beside the package in a checkout, below share/ in an installation."""
    beside = Path(__file__).resolve().parents[2] / kind
    if beside.is_dir():
        return beside
    import sysconfig

    return Path(sysconfig.get_path("data")) / "share/agent-router" / kind


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str = "") -> Settings:
    """Merge the sources; `flags` holds only what was given on the command line, None for what must not be set."""
    config = config or environ.get("AGENT_ROUTER_CONFIG", "")
    merged = {**(_from_file(config) if config else {}), **_from_environ(environ), **flags}
    if merged.get("token_file") == "":  # --token-file "$FILE" where nothing has set FILE
        raise SettingsError("token_file is empty, which would let everybody in; name a file, or leave the setting out")
    settings = Settings(**{name: value for name, value in merged.items() if value is not None})
    settings.check()
    return settings


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name in KINDS:
        variable = f"AGENT_ROUTER_{name.upper()}"
        if variable in environ:
            found[name] = convert(name, environ[variable], variable)
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
    for name in data:
        if name not in KINDS:
            raise SettingsError(f"settings file {path}: {name} is unknown; known are {', '.join(sorted(KINDS))}")
    return {name: convert(name, value, f"settings file {path}: {name}") for name, value in data.items()}


def convert(name: str, value: Any, source: str) -> Any:
    """`value` as the type of the setting `name`; text is split at commas for lists."""
    default = KINDS[name]
    if default is bool:
        return _boolean(value, source)
    if default == list[str]:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise SettingsError(f"{source} must be a list of strings")
        return [item for item in items if item]
    kind = {int: int, float: float, str: str}[default]
    takes: tuple[type, ...] = {int: (int, str), float: (int, float, str), str: (str,)}[kind]
    try:
        if isinstance(value, takes) and not isinstance(value, bool):
            return kind(value)
    except ValueError:
        pass
    raise SettingsError(f"{source} must be of type {kind.__name__}, not {value!r}")


def _boolean(value: Any, source: str) -> bool:
    text = str(value).lower()
    if text not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise SettingsError(f"{source} must be true or false, not {value!r}")
    return text in ("1", "true", "yes", "on")
