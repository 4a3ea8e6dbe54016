#!/bin/bash
# compare.sh A.initramfs B.initramfs: list entries that only one of two live images contains, by type, mode and path;
# silent, with status 0, if there are none. Contents and user ids are not compared.
set -euo pipefail
export LC_ALL=C
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

contents() { # INITRAMFS DIRECTORY
    mkdir "$2"
    # Overlays may be appended, so what cpio calls "trailing garbage" is not an error.
    (cd "$2" && cpio --extract --quiet --make-directories root.squashfs <"$(readlink -f "$1")" 2>/dev/null)
    # -rw-r--r-- 0/0 123 2026-01-01 00:00 squashfs-root/path[ -> target]
    unsquashfs -lln "$2/root.squashfs" | sed -En 's,^([-a-z]{10}) .* squashfs-root(/.*),\1 \2,p' | sort -k 2
}

given=("$(readlink -e "$1")" "$(readlink -e "$2")")
for number in 0 1; do
    contents "${given[number]}" "$work/$number" >"$work/$number.list"
    [[ -s $work/$number.list ]] || { echo "${given[number]} is not a live image" >&2 && exit 2; }
done
# State that dpkg leaves behind after installing and removing, and mount points in use while diskimage-builder packs.
known='^.{10} (/var/lib/dpkg/(alternatives/.*\.gz|diversions-old)|/proc|/sys)$'
found=$(diff --unified=0 --label "$1" --label "$2" <(grep -Ev "$known" "$work/0.list") <(grep -Ev "$known" "$work/1.list") |
    grep -v '^@@') || :
[[ -n $found ]] || exit 0
echo "$found"
exit 1
