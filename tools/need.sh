#!/bin/bash
# need.sh PACKAGE…: ensure that these Debian packages are installed; silent if they are.
# Only their programs are needed: no services are started, now or at the next boot.
set -euo pipefail

# invoke-rc.d and systemd's helpers run this before they start a service; 101 forbids it.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: if something is missing below, install the equivalent of these Debian packages: $*" >&2
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
    echo "Missing Debian packages, which only root can install: ${missing[*]}" >&2
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
# Wait for any other installation in progress.
install=(apt-get install --yes --no-install-recommends --option DPkg::Lock::Timeout=600 "${missing[@]}")
echo "Installing ${missing[*]}" >&2
# Fetch the package lists only if they are missing or too old to install from.
"${install[@]}" >"$said" 2>&1 </dev/null || {
    apt-get update --option DPkg::Lock::Timeout=600 >"$said" 2>&1 </dev/null && "${install[@]}" >>"$said" 2>&1 </dev/null
} || {
    tail -n 20 "$said" >&2
    echo "apt-get could not install ${missing[*]} for the reason above; fix it and try again" >&2
    exit 1
}

# Installation enables services for the next boot: disable those of the packages that are new.
LC_ALL=C comm -13 <(echo "$before") <(installed) | while read -r package; do
    dpkg-query --listfiles "$package" | sed -nE 's,^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket))$,\2,p'
done | while read -r unit; do
    ! command -v systemctl >/dev/null || systemctl --quiet disable "$unit" >/dev/null 2>&1 || true
done
