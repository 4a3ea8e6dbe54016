#!/bin/bash
# setup.sh: compile the plugins of the benchmarks and install what is compared by size, into .bench/.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .bench/plugins .bench/lib
for pair in echo:bench.c accept:bench.document echo:bench.bigecho sleeper:bench.sleep flood:bench.flood; do
    from=benchmarks/plugins/${pair%%:*}.c to=.bench/plugins/${pair#*:}
    [[ $to -nt $from ]] && continue
    gcc -O2 -Wall -static -o "$to" "$from" 2>/dev/null || gcc -O2 -Wall -o "$to" "$from"
done
[[ .bench/launch -nt benchmarks/plugins/launch.c ]] || gcc -O2 -Wall -o .bench/launch benchmarks/plugins/launch.c
install -m 755 benchmarks/plugins/bench.* .bench/plugins/

# The same Python plugin with a first line that the router does not know as Python it may fork.
python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')/bin/python3
{
    echo "#!$python"
    echo "import sys; sys.path.insert(0, '$PWD/.bench/lib')"
    tail -n +2 benchmarks/plugins/bench.python
} >.bench/plugins/bench.fresh.new
chmod 755 .bench/plugins/bench.fresh.new
mv .bench/plugins/bench.fresh.new .bench/plugins/bench.fresh
# Fresh interpreters find the helper library here, without the weight of a virtual environment.
ln -sfn ../../agent_router .bench/lib/agent_router

# What each of the two brings along, for the comparison of sizes; made again when ours has changed.
install_for_size() { # NAME REQUIREMENT…
    local to=.bench/size/$1
    [[ -e $to && ! setup.py -nt $to ]] && return
    rm -rf "$to" "$to.new"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile --target "$to.new" "${@:2}"
    mv "$to.new" "$to"
    touch "$to"
}
mkdir -p .bench/size
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
# A copy, because pip leaves build/ in the directory that it builds from.
cp -r setup.py pyproject.toml README.md LICENSE agent_router plugins.d schemas "$source"
install_for_size ours "$source"
install_for_size fast "$source[fast]"
install_for_size ipa ironic-python-agent==13.0.0
