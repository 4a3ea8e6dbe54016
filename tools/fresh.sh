#!/bin/bash
# fresh.sh TARGET…: run these Makefile targets on a newly created Debian.
# Creates a minimal root with git and make, as README requires, clones HEAD into it, and runs `make TARGET` there for
# each target, in separate namespaces. The only things it takes from this machine are the apt and pip configuration and
# the files that these refer to. Needs root. FRESH_ROOT reuses an existing root, FRESH_KEEP=1 keeps a new one. The
# arguments may include make variables such as BENCH_QUICK=1.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/..")
checkout=/root/agent-router

if ((EUID != 0)); then
    echo "Creating a fresh root file system and its namespaces requires root" >&2
    exit 1
fi
(($#)) || { echo "No Makefile targets given. Example: $0 demo test" >&2; exit 2; }
if [[ $1 != --inside ]]; then
    "$here/need.sh" mmdebstrap python3 util-linux
    root=${FRESH_ROOT:-}
    if [[ -z $root ]]; then
        root=$(mktemp --directory "${TMPDIR:-/var/tmp}/agent-router-fresh.XXXXXX")
        chmod 755 "$root" # apt reads as a different user
        [[ -n ${FRESH_KEEP:-} ]] || trap 'rm -rf --one-file-system "$root" "$root.list"' EXIT
    fi
    # Nothing inside needs an orderly shutdown: all of it is discarded.
    trap 'kill -KILL $(jobs -p); wait; exit 130' INT TERM
    # If this dies, everything it started dies too; its mounts are private.
    setpriv --pdeathsig KILL unshare --mount --pid --ipc --fork --kill-child --mount-proc "$0" --inside "$root" "$@" &
    wait $! && exit
    exit $?
fi
root=$2
shift 2

# 1. The root: this machine's release from this machine's sources.
if [[ ! -e $root/usr/bin/make ]]; then
    . /etc/os-release
    python3 "$here/ramdisk/sources.py" >"$root.list"
    echo "Creating a fresh $PRETTY_NAME in $root" >&2
    env -i PATH="$PATH:/usr/sbin:/sbin" LANG=C.UTF-8 mmdebstrap --quiet --variant=minbase \
        --dpkgopt=force-unsafe-io --include=git,make "$VERSION_CODENAME" "$root" "$root.list" >&2
    rm "$root.list"
fi
mount --bind "$root" "$root" # pivot_root requires a mount point
cd "$root"

# 2. The configuration of apt and pip, and the files and directories that it refers to.
carry() { # PATH…: copy files, bind-mount directories
    local path
    for path; do
        [[ $path == /* && -e $path ]] || continue
        if [[ -d $path ]]; then
            mkdir -p ".$path"
            mount --bind -o ro "$path" ".$path"
        else
            mkdir -p "./${path%/*}"
            cp --dereference "$path" ".$path"
        fi
    done
}
named() { # the local paths in the text on standard input; an index may link to files next to it
    grep -oE '(file://)?/[^] '\''",]+' | sed -E 's,^file://(.*)/[^/]+/?$,\1,; s,^file://,,' | sort -u || :
}
rm -rf etc/apt/sources.list etc/apt/sources.list.d
cp -R /etc/apt etc/
mapfile -t keys < <(sed -nE 's/.*[Ss]igned-[Bb]y[:=] *([^] ]+).*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)
carry "${keys[@]}"
pip_files=(/etc/pip.conf /etc/xdg/pip/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" "${PIP_CONFIG_FILE:-}")
carry "${pip_files[@]}"
mapfile -t settings < <(env | grep -E '^(PIP_[A-Z_]+|[a-zA-Z]+_proxy|[A-Z]+_PROXY)=' || :)
mapfile -t paths < <({
    printf '%s\n' "${settings[@]#*=}"
    cat "${pip_files[@]}" 2>/dev/null || :
} | named)
for path in "${paths[@]}"; do
    [[ $path == /etc/xdg/pip/pip.conf ]] || carry "$path"
done
carry /etc/resolv.conf /etc/hosts
# Copy the certificates that pip trusts under a separate name: the package ca-certificates overwrites the usual one.
trusted=${PIP_CERT:-$(sed -nE 's/^ *cert *= *//p' "${pip_files[@]}" 2>/dev/null | tail -1)}
if [[ -e $trusted ]]; then
    cp "$trusted" root/trusted-by-pip.crt
    settings+=(PIP_CERT=/root/trusted-by-pip.crt) # the last one wins
fi

# 3. A clean clone of HEAD.
rm -rf ".$checkout"
git -c safe.directory='*' clone --quiet --no-hardlinks "$project" ".$checkout"
git -C ".$checkout" remote remove origin

# 4. The file systems of a running machine.
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p .old
mount --make-rprivate /
pivot_root . .old
cd "$checkout"
umount --lazy /.old
rmdir /.old

# 5. The targets.
variables=() targets=()
for word; do
    [[ $word == *=* ]] && variables+=("$word") || targets+=("$word")
done
for target in "${targets[@]}"; do
    echo "=== make $target ${variables[*]}" >&2
    begun=$SECONDS
    env -i --default-signal=INT PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        ${CI:+CI="$CI"} "${settings[@]}" make --no-print-directory "$target" "${variables[@]}"
    echo "=== make $target took $((SECONDS - begun)) s" >&2
done
