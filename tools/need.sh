#!/bin/bash
# need.sh PACKAGE…: make sure that these Debian packages are installed; says nothing if they are.
# Their programs are needed, not their services: none is started, now or at the next boot.
set -euo pipefail

# What invoke-rc.d and systemd's helpers ask before they start a service; 101 forbids it.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: if something is missing below, install what Debian calls: $*" >&2
    exit 0
fi

installed() {
    dpkg-query --show --showformat '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | LC_ALL=C sort
}

missing=()
for package; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) || status=none
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
    echo "These Debian packages are missing and only root can install them: ${missing[*]}" >&2
    exit 1
fi

said=$(mktemp) made=
trap 'rm -f "$said" ${made:+"$made"}' EXIT
if [[ ! -e $policy ]]; then
    made=$policy
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
before=$(installed)

export DEBIAN_FRONTEND=noninteractive
# Another installation that goes on at this moment is waited for.
install=(apt-get install --yes --no-install-recommends --option DPkg::Lock::Timeout=600 "${missing[@]}")
echo "Installing ${missing[*]}" >&2
# The package lists may be absent or too old to install from; only then they are fetched.
"${install[@]}" >"$said" 2>&1 </dev/null || {
    apt-get update --option DPkg::Lock::Timeout=600 >"$said" 2>&1 </dev/null && "${install[@]}" >>"$said" 2>&1 </dev/null
} || {
    tail -n 20 "$said" >&2
    echo "apt-get could not install ${missing[*]}, for the reason above; mend it and try again" >&2
    exit 1
}

# Installing enables them for the next boot; what was there before is left as it is.
LC_ALL=C comm -13 <(echo "$before") <(installed) | while read -r package; do
    dpkg-query --listfiles "$package" | sed -nE 's,^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket))$,\2,p'
done | while read -r unit; do
    ! command -v systemctl >/dev/null || systemctl --quiet disable "$unit" >/dev/null 2>&1 || true
done
