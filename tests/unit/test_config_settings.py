import shutil

import pytest

from agent_router.config.settings import Settings, SettingsError, bundled_dir, is_loopback, load, token_warning
from tests.support.certificates import self_signed

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "agent.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Paths of a certificate and its key."""
    cert, key = self_signed(tmp_path_factory.mktemp("tls"))
    return {"cert": str(cert), "key": str(key)}


def test_defaults():
    assert vars(load({}, {})) == vars(Settings())
    assert Settings().devices is not Settings().devices
    assert (Settings().host, Settings().port, Settings().devices) == ("127.0.0.1", 9999, [])


def test_the_command_line_wins_then_the_environment_then_the_file(config):
    path = config('port = 1\nhistory = 1\nstate = "/file"\ndevices = ["/dev/file"]\n')
    environ = {"AGENT_ROUTER_PORT": "2", "AGENT_ROUTER_HISTORY": "2", "AGENT_ROUTER_CONFIG": path}
    settings = load({"port": 3}, environ)
    assert (settings.port, settings.history, settings.state, settings.devices) == (3, 2, "/file", ["/dev/file"])
    assert load({}, environ).port == 2
    assert load({}, {}, path).port == 1
    assert load({}, {"AGENT_ROUTER_CONFIG": "/no/such/file"}, path).port == 1


def test_the_types_of_the_file(config, pem, tmp_path):
    (tmp_path / "token").write_text("another token of more than sixteen")
    path = config(f'''
host = "::1"
port = 0
token = "{TOKEN}"
token_file = "{tmp_path}/token"
cert = "{pem["cert"]}"
key = "{pem["key"]}"
plugins = ["/a", "/b"]
schemas = []
bundled = false
state = "/s"
devices = ["/dev/loop*", "!/dev/loop0"]
insecure = true
max_request_mib = 0.5
history = 5
notices = "/n"
''')
    settings = load({}, {}, path)
    assert vars(settings) == {
        "host": "::1", "port": 0, "token": TOKEN, "token_file": f"{tmp_path}/token", **pem,
        "plugins": ["/a", "/b"], "schemas": [], "bundled": False,
        "state": "/s", "devices": ["/dev/loop*", "!/dev/loop0"], "insecure": True, "max_request_mib": 0.5, "history": 5,
        "notices": "/n",
    }  # fmt: skip


def test_a_token_in_a_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("a token of more than sixteen\n")
    assert load({"token_file": str(path)}, {}).token == "a token of more than sixteen"
    with pytest.raises(SettingsError, match="token_file /no/such cannot be read"):
        load({"token_file": "/no/such"}, {})
    for data, sentence in ((b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe\0", "cannot be read"),
                           (b"x" * 5000, "holds more than 4096 characters")):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(SettingsError, match=f"token_file {path} {sentence}"):
            load({"token_file": str(path)}, {})


def test_a_file_without_a_name_is_a_mistake_too(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('token_file = ""\n')
    for given in (({"token_file": ""}, {}), ({}, {"AGENT_ROUTER_TOKEN_FILE": ""}), ({}, {}, str(path))):
        with pytest.raises(SettingsError, match="token_file is empty, which would let everybody in"):
            load(*given)
    assert load({"token_file": None}, {"AGENT_ROUTER_TOKEN_FILE": ""}).token == ""


SHORT, LEAST = "678123", "0123456789abcdef"


@pytest.fixture(params=["token", "token_file"])
def token_flags(request, tmp_path):
    """The flags for a token that is given as it is, or in a file."""

    def flags(token):
        (tmp_path / "token").write_text(token + "\n")
        return {"token": token} if request.param == "token" else {"token_file": str(tmp_path / "token")}

    return flags


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "localhost", "::1", "[::1]"])
def test_a_short_token_will_do_on_loopback_but_for_a_warning(token_flags, host):
    settings = load({"host": host, **token_flags(SHORT)}, {})
    assert settings.token == SHORT
    assert token_warning(settings.token) == (
        "token is shorter than 16 characters, which will do on loopback only; `openssl rand -hex 24` makes a good one"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node-17", ""])
def test_beyond_loopback_a_token_has_16_characters_insecure_or_not(token_flags, pem, host):
    for more in (pem, {"insecure": True}):
        for short in (SHORT, LEAST[1:], "Ä" * 15):
            with pytest.raises(SettingsError, match="is shorter than 16 characters, too short beyond loopback; `ope"):
                load({"host": host, **more, **token_flags(short)}, {})
        assert token_warning(load({"host": host, **more, **token_flags(LEAST)}, {}).token) == ""


@pytest.mark.parametrize("text", [f" {TOKEN}", f"{TOKEN}\n", " " * 20, f"a\n{TOKEN}", f"\0{TOKEN}", f"\udcff{TOKEN}"])
def test_a_token_that_no_header_can_carry_is_refused(text):
    with pytest.raises(SettingsError, match="token has white space around it, or a control character in it; `openssl"):
        load({}, {"AGENT_ROUTER_TOKEN": text})


def test_no_token_is_none_but_an_empty_file_is_a_mistake(tmp_path):
    assert load({"token": ""}, {}).token == ""
    assert token_warning("") == ""
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(SettingsError, match=f"token_file {tmp_path}/token is empty; `openssl"):
        load({"token_file": f"{tmp_path}/token"}, {})


def test_the_types_of_the_environment():
    settings = load({}, {
        "AGENT_ROUTER_PORT": "1234", "AGENT_ROUTER_DEVICES": "/dev/loop1,!/dev/loop2,", "AGENT_ROUTER_BUNDLED": "No",
        "AGENT_ROUTER_INSECURE": "1", "AGENT_ROUTER_MAX_REQUEST_MIB": "1.5", "AGENT_ROUTER_PLUGINS": "",
        "AGENT_ROUTER_UNRELATED": "x", "PORT": "5",
    })  # fmt: skip
    assert (settings.port, settings.devices, settings.bundled) == (1234, ["/dev/loop1", "!/dev/loop2"], False)
    assert (settings.insecure, settings.max_request_mib, settings.plugins) == (True, 1.5, [])


@pytest.mark.parametrize(("line", "sentence"), [
    ("prot = 1", "prot is unknown; known are bundled, cert, devices, history, host,"),
    ("port = 'x'", "port must be of type int, not 'x'"),
    ("port = 80.5", "port must be of type int, not 80.5"),
    ("port = true", "port must be of type int, not True"),
    ("port = 65536", "port 65536 is not between 0 (any free one) and 65535"),
    ("port = -1", "port -1 is not between"),
    ("host = 5", "host must be of type str, not 5"),
    ("devices = 5", "devices must be a list of strings"),
    ("devices = [5]", "devices must be a list of strings"),
    ("bundled = 'perhaps'", "bundled must be true or false, not 'perhaps'"),
    ("max_request_mib = 'much'", "max_request_mib must be of type float, not 'much'"),
    ("max_request_mib = inf", "max_request_mib inf is not between 0 and 512"),
    ("max_request_mib = nan", "max_request_mib nan is not between"),
    ("max_request_mib = 0", "max_request_mib 0 is not between"),
    (f"state = '/{'s' * 95}'", "is longer than 95 bytes, too long for the name of a socket in it; choose"),
    ("history = 0", "history 0 is not a number of commands above 0"),
    ("token = 'short'\nhost = '::'", "token is shorter than 16 characters, too short beyond loopback; `openssl rand"),
    ("token = ' '", "token has white space around it, or a control character in it; `openssl rand -hex 24` makes"),
    ("cert = '/c'", "cert and key go together"),
    ("key = '/c'", "cert and key go together"),
    ("cert = '/no/cert'\nkey = '/no/key'", "cert /no/cert cannot be read; give the path of a PEM file"),
    ("port 1", "agent.toml is not TOML: "),
])  # fmt: skip
def test_each_mistake_has_its_sentence(config, line, sentence):
    path = config(line)
    with pytest.raises(SettingsError) as caught:
        load({}, {}, path)
    assert sentence in str(caught.value)


def test_a_certificate_and_a_key_that_are_none(pem, tmp_path):
    (tmp_path / "text").write_text("hello")
    for flags in ({"cert": pem["cert"], "key": str(tmp_path / "text")}, {"cert": pem["key"], "key": pem["cert"]}):
        with pytest.raises(SettingsError, match=f"cert {flags['cert']} and key {flags['key']} cannot be used together"):
            load(flags, {})


def test_an_unreadable_file():
    with pytest.raises(SettingsError, match="settings file /no/such: No such file or directory"):
        load({}, {}, "/no/such")


def test_a_mistake_in_the_environment_names_the_variable():
    with pytest.raises(SettingsError, match="AGENT_ROUTER_PORT must be of type int, not 'x'"):
        load({}, {"AGENT_ROUTER_PORT": "x"})


@pytest.mark.parametrize(("given", "lacking"), [
    ([], "without token and without cert and key"), (["token"], "without cert and key"),
    (["cert", "key"], "without token"),
])  # fmt: skip
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node-17", ""])
def test_beyond_loopback_only_with_token_and_certificate(pem, host, given, lacking):
    everything = {"token": TOKEN, **pem}
    flags = {"host": host, **{name: everything[name] for name in given}}
    with pytest.raises(SettingsError) as caught:
        load(flags, {})
    assert f"refusing to listen on {host} {lacking}: " in str(caught.value)
    load({**flags, "insecure": True}, {})
    load({"host": host, **everything}, {})


@pytest.mark.parametrize(("host", "loopback"), [
    ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
    ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example", False), ("", False),
])  # fmt: skip
def test_loopback(host, loopback):
    assert is_loopback(host) == loopback


def test_directories(monkeypatch, tmp_path):
    bundled = Settings()
    assert [str(path) for path in bundled.plugin_dirs()[1:]] == ["/etc/agent-router/plugins.d"]
    assert bundled.plugin_dirs()[0] == bundled_dir("plugins.d")
    own = Settings(plugins=["/a"], schemas=["/b"], bundled=False)
    assert [str(path) for path in own.plugin_dirs() + own.schema_dirs()] == ["/a", "/b"]
    assert bundled_dir("schemas").is_dir()


def test_the_installed_place_of_the_bundled_plugins(monkeypatch, tmp_path):
    """Without a checkout around the package they are below share/ of the prefix."""
    import sysconfig

    from agent_router.config import settings

    (tmp_path / "lib/agent_router/config").mkdir(parents=True)
    copy = shutil.copy(settings.__file__, tmp_path / "lib/agent_router/config/settings.py")
    monkeypatch.setattr(settings, "__file__", str(copy))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: f"/prefix/{name}")
    assert str(settings.bundled_dir("schemas")) == "/prefix/data/share/agent-router/schemas"
