#!/bin/bash
# venv.sh DIR ARGUMENT…: a virtual environment in DIR with what `pip install ARGUMENT…` brings; DIR/.installed says
# that it is complete. One that was begun and not finished is gone on with.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
venv=$1
shift

if ! mkdir -p "$(dirname "$venv")" || [[ ! -w $(dirname "$venv") ]]; then
    echo "Nothing can be written to $(readlink -f "$(dirname "$venv")"): clone the project to a place where you may write" >&2
    exit 1
fi
"$here/python.sh" >/dev/null 2>&1 || "$here/need.sh" python3 python3-venv
[[ -x $venv/bin/pip ]] || "$("$here/python.sh")" -m venv --clear "$venv"
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; then
    echo "pip could not install what $venv needs, for the reason above; mend it and run make again" >&2
    exit 1
fi
touch "$venv/.installed"
