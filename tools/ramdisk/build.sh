#!/bin/bash
# build.sh OUT [ELEMENT…]: build the same ramdisk faster: mmdebstrap with this machine's apt sources, a cached base, and
# the phase scripts of the elements that diskimage-builder would run. Writes OUT.kernel, OUT.initramfs. Needs root. The
# elements' DIB_AGENT_ROUTER_… variables apply here too. ELEMENTS_PATH, as for diskimage-builder: colon-separated
# directories with further elements.
set -euo pipefail
trap 'echo "$0: line $LINENO failed" >&2' ERR
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
python=${PYTHON:-$project/.venv/bin/python}
cache=${RAMDISK_CACHE:-$project/.ramdisk/cache}
out=$(readlink -m "${1:?output path missing}")
shift

if ((EUID != 0)); then
    echo "Building a ramdisk requires root, to create files owned by root and for chroot" >&2
    exit 1
fi
# Mounts made here are private, and are gone when this ends, however it ends.
if [[ ${RAMDISK_UNSHARED:-} != yes ]]; then
    exec env RAMDISK_UNSHARED=yes unshare --mount --propagation private "$0" "$out" "$@"
fi

mapfile -t elements < <("$python" "$here/packages.py" --elements "${@:-agent-router-live}")
mapfile -t packages < <("$python" "$here/packages.py" "${elements[@]##*/}")
((${#packages[@]})) || exit 1
mkdir -p "$cache" "$(dirname "$out")"
work=$(mktemp --directory "$cache/work.XXXXXX")
trap 'cd /; umount --recursive "$work/root" "$work/upper" "$work/lower" 2>/dev/null || :; rm -rf --one-file-system "$work"' EXIT

# 0. The files of all elements in one directory, as the phases expect, and the variables that they set.
hooks=$work/hooks root=$work/root
mkdir "$hooks"
for element in "${elements[@]}"; do
    cp -RL "$element"/* "$hooks/" # elements may link to files of other elements
done
export TMP_HOOKS_PATH=$hooks TMP_BUILD_DIR=$work TARGET_ROOT=$root IMAGE_NAME=$out DIB_INIT_SYSTEM=systemd \
    DIB_AGENT_ROUTER_SOURCE=$project DISTRO_NAME=debian
sudo() { # called by the phases, which already run as root here
    "$@"
}
export -f sudo
for file in "$hooks"/environment.d/*; do
    # shellcheck source=/dev/null
    . "$file"
done

# 1. The base: packages only, so that changing the agent does not rebuild it.
. /etc/os-release
lean=$project/ramdisk-elements/agent-router/dpkg-lean.cfg
key=$("$python" "$here/sources.py" | cat - "$lean" <(echo "systemd-sysv ${packages[*]}") | sha256sum)
base=$cache/base-${key:0:16}.squashfs
exec 9>"$cache/lock"
flock 9
if [[ ! -e $base ]]; then
    echo "Installing ${#packages[@]} packages and their dependencies into a new base" >&2
    "$python" "$here/sources.py" >"$work/sources.list"
    include=$(IFS=, && echo "systemd-sysv,${packages[*]}")
    env -i PATH="$PATH:/usr/sbin:/sbin" LANG=C.UTF-8 TMPDIR="$work" mmdebstrap --quiet --variant=minbase \
        --dpkgopt="$lean" --dpkgopt=force-unsafe-io --include="$include" \
        "$VERSION_CODENAME" "$work/base" "$work/sources.list" >&2
    mksquashfs "$work/base" "$base.part" -noappend -no-progress -quiet -comp zstd -Xcompression-level 1 \
        -e 'dev/*' -wildcards >/dev/null
    rm -rf --one-file-system "$work/base"
    mv "$base.part" "$base"
fi
flock -u 9

# 2. A writable copy of it.
mkdir -p "$work"/{lower,upper,scratch,root}
mount -t squashfs -o ro,loop "$base" "$work/lower"
mount -t tmpfs -o size=6G,mode=755 upper "$work/upper"
mkdir "$work"/upper/{files,work}
mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper/files,workdir=$work/upper/work" overlay "$work/root"

# 3. The phases, as diskimage-builder runs them: the hooks of all elements together, ordered by name.
run_phase() { # NAME [COMMAND…]: run each script of the phase, prefixed by COMMAND
    local phase=$1 script
    shift
    for script in "$hooks/$phase.d"/[0-9][0-9]-*; do
        [[ -e $script ]] || continue
        "$@" "$script"
    done
}
in_target() {
    chroot "$root" "/tmp/in_target.d/${1#"$hooks/"}"
}
run_phase extra-data
mkdir -p "$root/tmp/in_target.d"
mount --bind "$hooks" "$root/tmp/in_target.d"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
run_phase pre-install in_target
[[ ! -d $hooks/static ]] || cp -R --no-preserve=ownership "$hooks/static/." "$root/"
run_phase install in_target
run_phase post-install in_target
umount "$root/dev" "$root/proc" "$root/tmp/in_target.d"
run_phase cleanup
