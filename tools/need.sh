#!/bin/bash
# need.sh PACKAGE…: make sure that these Debian packages are installed; says nothing if they are.
set -euo pipefail

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: if something is missing below, install what Debian calls: $*" >&2
    exit 0
fi

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

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install --yes --no-install-recommends "${missing[@]}")
echo "Installing ${missing[*]}" >&2
# The package lists may be absent or too old to install from; only then they are fetched.
"${install[@]}" >/dev/null 2>&1 </dev/null || {
    apt-get update </dev/null
    "${install[@]}" </dev/null
}
