#!/bin/bash
# venv.sh DIR ARGUMENT…: create a virtual environment in DIR and run `pip install ARGUMENT…` in it; DIR/.installed marks
# it as complete. Resumes an unfinished one.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
venv=$1
shift

if ! mkdir -p "$(dirname "$venv")" || [[ ! -w $(dirname "$venv") ]]; then
    echo "$(readlink -f "$(dirname "$venv")") is not writable: clone the project to a directory where you can write" >&2
    exit 1
fi
"$here/python.sh" >/dev/null 2>&1 || "$here/need.sh" python3 python3-venv
[[ -x $venv/bin/pip ]] || "$("$here/python.sh")" -m venv --clear "$venv"
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; then
    echo "pip could not install the packages for $venv for the reason above; fix it and run make again" >&2
    exit 1
fi
touch "$venv/.installed"
