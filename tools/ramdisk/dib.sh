#!/bin/bash
# dib.sh OUT [ELEMENT…]: build the ramdisk with diskimage-builder, for any distribution that it supports and for which
# the elements list packages. Writes OUT.kernel, OUT.initramfs. Needs root or sudo. Variables of diskimage-builder
# (DIB_RELEASE, DIB_DISTRIBUTION_MIRROR, ELEMENTS_PATH, …) are respected if set.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
python=${PYTHON:-$project/.venv/bin/python}
builder=${DIB_BUILDER:-$project/.ramdisk/dib}
base=${DIB_DISTRO:-debian-minimal}
out=$(readlink -m "${1:?output path missing}")
shift
(($#)) || set -- agent-router-live
mkdir -p "$(dirname "$out")"

if ((EUID != 0)) && ! sudo --non-interactive true; then
    echo "Building a ramdisk requires root: run this as root, or as a user with passwordless sudo" >&2
    exit 1
fi

# On Debian, default to this machine's release and apt sources. The image then has the same Python as this machine, so
# wheels built here work there; otherwise pip builds them in the image.
. /etc/os-release
if [[ $base == debian-minimal && $ID == debian && -z ${DIB_RELEASE:-}${DIB_DISTRIBUTION_MIRROR:-} ]]; then
    variables=$("$python" "$here/sources.py" --dib)
    eval "$variables"
    version='import sys; print(sys.version_info[:2])'
    if [[ -z ${DIB_AGENT_ROUTER_WHEELS:-} && $(/usr/bin/python3 -c "$version") == "$("$python" -c "$version")" ]]; then
        ours=()
        for element; do
            [[ ! -d $project/ramdisk-elements/$element ]] || ours+=("$element")
        done
        PYTHON=$python "$here/wheels.sh" "$project/.ramdisk/wheels" "${ours[@]}"
        export DIB_AGENT_ROUTER_WHEELS=$project/.ramdisk/wheels
    fi
fi

# Caches for the next build: the bootstrapped base and the distribution's packages.
export DIB_IMAGE_CACHE=${DIB_IMAGE_CACHE:-$builder/cache} DIB_LOCKFILES=${DIB_LOCKFILES:-$builder/lock}
export DIB_DEBOOTSTRAP_CACHE=${DIB_DEBOOTSTRAP_CACHE:-1}
export DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE=${DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE:-1}
export DIB_AGENT_ROUTER_SOURCE=${DIB_AGENT_ROUTER_SOURCE:-$project}
export ELEMENTS_PATH=$project/ramdisk-elements${ELEMENTS_PATH:+:$ELEMENTS_PATH}
export TMP_DIR=${TMP_DIR:-/var/tmp} PATH=$builder/bin:$PATH:/usr/sbin:/sbin
# -n: without the element `base`, which is for installed systems. -t raw: the only type that needs no further program;
# the element no-final-image keeps it from being built.
exec disk-image-create -a "${DIB_ARCH:-amd64}" -n --no-tmpfs -t raw -o "$out" "$base" "$@"
