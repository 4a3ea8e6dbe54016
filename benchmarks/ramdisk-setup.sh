#!/bin/bash
# ramdisk-setup.sh [NAME…]: build the three images of make bench-ramdisk in .bench/ramdisk/: ours, and stock
# ironic-python-agent packed like ours and by its own builder's script, all with the same packages and kernel. Rebuilt
# when a source changes.
set -euo pipefail
cd "$(dirname "$0")/.."
ipa=ironic-python-agent==${BENCH_IPA_VERSION:-13.0.0} builder=ironic-python-agent-builder==7.4.0 dib=diskimage-builder==3.43.0
place=$PWD/.bench/ramdisk
python=$PWD/.venv/bin/python
wanted=("$@")
mkdir -p "$place"

stamped() { # FILE KEY: was FILE built for KEY?
    [[ $(cat "$1.made-for" 2>/dev/null) == "$2" ]]
}

if ! stamped "$place/wheels" "$ipa"; then
    rm -rf "$place/wheels"
    "$python" -m pip --quiet --disable-pip-version-check wheel --wheel-dir "$place/wheels" "$ipa"
    echo "$ipa" >"$place/wheels.made-for"
fi
if ! stamped "$place/builder" "$builder $dib"; then
    "$python" -m venv --clear "$place/builder"
    "$place/builder/bin/python" -m pip --quiet --disable-pip-version-check install "$builder" "$dib"
    echo "$builder $dib" >"$place/builder.made-for"
fi
tools/ramdisk/wheels.sh "$place/ours-wheels" agent-router-live >&2

export DIB_AGENT_ROUTER_LEVEL=${DIB_AGENT_ROUTER_LEVEL:-15} DIB_AGENT_ROUTER_LIVE=1
DIB_AGENT_ROUTER_WHEELS=$place/ours-wheels
BENCH_IPA_WHEELS=$place/wheels
BENCH_IPA_BUILDER=$place/builder/share/ironic-python-agent-builder/dib
BENCH_DIB_LIB=$("$place/builder/bin/python" -c 'import diskimage_builder as d; print(d.__path__[0])')/lib
export DIB_AGENT_ROUTER_WHEELS BENCH_IPA_WHEELS BENCH_IPA_BUILDER BENCH_DIB_LIB
export ELEMENTS_PATH=$PWD/benchmarks/elements

build() { # NAME ELEMENT SOURCE…
    local name=$1 element=$2 key
    shift 2
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
    key="$DIB_AGENT_ROUTER_LEVEL $(find -L "$@" tools/ramdisk/build.sh ramdisk-elements/*/package-installs.yaml -type f ! -name '*.pyc' -print0 |
        LC_ALL=C sort --zero-terminated | xargs --null sha256sum | sha256sum)"
    stamped "$place/$name" "$key" && return
    echo "Building the image $name" >&2
    tools/ramdisk/build.sh "$place/$name" "$element" >"$place/$name.log" 2>&1 || {
        tail -n 20 "$place/$name.log" >&2
        return 1
    }
    echo "$key" >"$place/$name.made-for"
}
# Wheels contain their build time, so compare the sources. Elements of stock IPA link to ours.
build ours agent-router-live ramdisk-elements/agent-router{,-live} agent_router plugins.d schemas setup.py
build stock-live stock-ipa-live benchmarks/elements/stock-ipa{,-live} .bench/ramdisk/wheels
build stock-cpio stock-ipa-cpio benchmarks/elements/stock-ipa{,-cpio} .bench/ramdisk/wheels
