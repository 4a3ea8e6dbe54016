#!/bin/bash
# setup.sh: compile the plugins of the benchmarks and install both agents, into .bench/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')/bin/python3

mkdir -p .bench/plugins .bench/size
for pair in echo:bench.c accept:bench.document echo:bench.bigecho sleeper:bench.sleep flood:bench.flood launch:launch; do
    from=benchmarks/plugins/${pair%%:*}.c to=.bench/plugins/${pair#*:}
    [[ $to == */launch ]] && to=.bench/launch
    [[ $to -nt $from ]] && continue
    gcc -O2 -Wall -static -o "$to" "$from" 2>/dev/null || gcc -O2 -Wall -o "$to" "$from"
done
install -m 755 benchmarks/plugins/bench.* .bench/plugins/

# The same Python plugin with a first line that the router does not take for one it may fork.
{
    echo "#!$python"
    echo "import sys; sys.path.insert(0, '$PWD/.bench/size/ours')"
    tail -n +2 benchmarks/plugins/bench.python
} >.bench/plugins/bench.fresh
chmod 755 .bench/plugins/bench.fresh

# The agents with all they need, each in a directory of its own. Ours is what is measured: an editable
# installation starts slower, and other packages of the development environment would be found.
pip() { .venv/bin/python -m pip install -qq --disable-pip-version-check --target "$@" 2>&1; }
fresh() { # DIRECTORY SOURCE…: is it newer than all of them?
    [[ -e $1 && -z $(find "${@:2}" -newer "$1" ! -name '*.pyc' ! -name __pycache__ -print -quit) ]]
}
if ! fresh .bench/size/ours agent_router setup.py; then
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    # A copy, because pip leaves build/ in the directory that it builds from.
    cp -r setup.py pyproject.toml README.md LICENSE agent_router plugins.d schemas "$source"
    if fresh .bench/size/ours setup.py; then
        pip .bench/size/ours --upgrade --no-deps "$source"
    else
        rm -rf .bench/size/ours
        pip .bench/size/ours "${source}[fast]"
    fi
    touch .bench/size/ours
fi
# IPA by size only; the one that runs is in .bench/ipa, or where BENCH_IPA says.
[[ -e .bench/size/ipa ]] || pip .bench/size/ipa ironic-python-agent==13.0.0
