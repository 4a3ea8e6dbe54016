#!/bin/bash
# wheels.sh DIR [ELEMENT…]: build the wheels of agent-router and its dependencies for the ramdisk; elements may request
# more (DIB_AGENT_ROUTER_EXTRAS). The wheels of dependencies are rebuilt only when setup.py or the extras change.
set -euo pipefail
project=$(readlink -f "$(dirname "$0")/../..")
python=${PYTHON:-$project/.venv/bin/python}
directory=$(readlink -m "$1")
shift
mkdir -p "$directory"
mapfile -t elements < <("$python" "$project/tools/ramdisk/packages.py" --elements "${@:-agent-router}")
for element in "${elements[@]}"; do
    for file in "$element"/environment.d/*; do
        # shellcheck source=/dev/null
        [[ ! -e $file ]] || . "$file"
    done
done
rm -f "$directory"/agent_router-*.whl

# Without byte code or an old build/: files that are no longer in the checkout must not be included.
source=$(mktemp --directory)
trap 'rm -rf "$source"' EXIT
(cd "$project" && tar --create --exclude=__pycache__ --exclude='*.egg-info' agent_router plugins.d schemas setup.py pyproject.toml README.md) |
    tar --extract --directory "$source"
pip=("$python" -m pip --quiet --disable-pip-version-check wheel --wheel-dir "$directory")
sum=$(echo "$DIB_AGENT_ROUTER_EXTRAS" | sha256sum - "$project/setup.py")
if [[ $(cat "$directory/made-for" 2>/dev/null) != "$sum" ]]; then
    rm -f "$directory"/*.whl
    "${pip[@]}" "${source}[$DIB_AGENT_ROUTER_EXTRAS]"
    echo "$sum" >"$directory/made-for"
else
    "${pip[@]}" --no-deps "$source"
fi
