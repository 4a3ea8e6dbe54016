"""tools/need.sh with made-up package tools: what it installs, and that no service comes with it."""

import os
import subprocess
from pathlib import Path

import pytest

NEED = Path(__file__).resolve().parents[2] / "tools/need.sh"

# A Debian in which apt-get installs what it is asked for and, with nginx, nginx-common.
DPKG_QUERY = """#!/bin/bash
case $* in
    *binary:Package*) cat installed;;
    --show*) grep -qx "installed ${!#}" installed && echo -n installed || exit 1;;
    *) [[ $2 != nginx-common ]] || printf '%s\\n' /. /lib/systemd/system/nginx.service /etc/init.d/nginx \\
        /usr/lib/systemd/system/n.socket /lib/systemd/system/n@.service /lib/systemd/system/x.wants/y.service;;
esac
"""
APT_GET = """#!/bin/bash
echo "$@" >>asked
[[ $1 != install || -e lists ]] || exit 100
[[ $1 != update ]] || touch lists
[[ $1 != install ]] || { cat policy-rc.d >seen; for name in "${@:6}"; do echo "installed $name" >>installed; done
    echo "installed nginx-common" >>installed; }
"""
SYSTEMCTL = '#!/bin/sh\necho "$@" >>disabled\nexit 1\n'


@pytest.fixture
def debian(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, as installing does")
    (tmp_path / "bin").mkdir()
    for name, script in (("dpkg-query", DPKG_QUERY), ("apt-get", APT_GET), ("systemctl", SYSTEMCTL)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "installed").write_text("installed bash\ninstalled smartmontools\n")
    return tmp_path


def need(debian, *packages):
    env = {**os.environ, "PATH": f"{debian}/bin:{os.environ['PATH']}", "POLICY_RC_D": str(debian / "policy-rc.d")}
    return subprocess.run([NEED, *packages], cwd=debian, env=env, capture_output=True, text=True, check=True)


@pytest.mark.root
def test_what_is_there_is_not_asked_for(debian):
    done = need(debian, "bash", "smartmontools")
    assert (done.stdout, done.stderr, (debian / "asked").exists()) == ("", "", False)


@pytest.mark.root
def test_what_is_missing_is_installed_with_new_lists_if_need_be(debian):
    done = need(debian, "bash", "nginx")
    assert "Installing nginx" in done.stderr
    wait = "--option DPkg::Lock::Timeout=600"
    install = f"install --yes --no-install-recommends {wait} nginx"
    assert (debian / "asked").read_text().splitlines() == [install, f"update {wait}", install]
    assert "could not" not in done.stderr


@pytest.mark.root
def test_what_cannot_be_had_is_one_sentence_after_the_reason(debian):
    (debian / "bin/apt-get").write_text("#!/bin/sh\necho 'E: no route to the archive' >&2\nexit 100\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        need(debian, "nginx")
    assert failed.value.returncode == 1
    assert failed.value.stderr.splitlines()[-2:] == [
        "E: no route to the archive",
        "apt-get could not install nginx for the reason above; fix it and try again",
    ]
    assert not (debian / "policy-rc.d").exists()


@pytest.mark.root
def test_no_service_of_a_new_package_is_started_now_or_at_the_next_boot(debian):
    need(debian, "nginx")
    assert (debian / "seen").read_text() == "#!/bin/sh\nexit 101\n"
    assert not (debian / "policy-rc.d").exists()
    disabled = (debian / "disabled").read_text().splitlines()
    assert disabled == ["--quiet disable nginx.service", "--quiet disable n.socket"]


@pytest.mark.root
def test_a_policy_of_the_machine_is_left_alone(debian):
    (debian / "policy-rc.d").write_text("#!/bin/sh\nexit 0\n")
    need(debian, "nginx")
    assert (debian / "seen").read_text() == (debian / "policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"
