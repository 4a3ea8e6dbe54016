#!/bin/bash
# wheels.sh DIR: the wheels of agent-router and of what it needs in the ramdisk. Those of the dependencies are made
# again only when setup.py changes.
set -euo pipefail
project=$(readlink -f "$(dirname "$0")/../..")
python=${PYTHON:-$project/.venv/bin/python}
directory=$(readlink -m "$1")
mkdir -p "$directory"
rm -f "$directory"/agent_router-*.whl

# Without byte code and with nothing of an earlier build/: what is not in the checkout any more must not come along.
source=$(mktemp --directory)
trap 'rm -rf "$source"' EXIT
(cd "$project" && tar --create --exclude=__pycache__ --exclude='*.egg-info' agent_router plugins.d schemas setup.py pyproject.toml README.md) |
    tar --extract --directory "$source"
pip=("$python" -m pip --quiet --disable-pip-version-check wheel --wheel-dir "$directory")
sum=$(sha256sum <"$project/setup.py")
if [[ $(cat "$directory/made-for" 2>/dev/null) != "$sum" ]]; then
    rm -f "$directory"/*.whl
    "${pip[@]}" "${source}[${DIB_AGENT_ROUTER_EXTRAS:-fast}]"
    echo "$sum" >"$directory/made-for"
else
    "${pip[@]}" --no-deps "$source"
fi
