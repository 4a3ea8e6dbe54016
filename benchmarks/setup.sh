#!/bin/bash
# setup.sh: compile the benchmark plugins and install both agents in .bench/.
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

# The same Python plugin, with a shebang that keeps the router from running it in a fork.
{
    echo "#!$python"
    echo "import sys; sys.path.insert(0, '$PWD/.bench/size/ours')"
    tail -n +2 benchmarks/plugins/bench.python
} >.bench/plugins/bench.fresh
chmod 755 .bench/plugins/bench.fresh

# The agents with all dependencies, each in its own directory. Ours is the one measured: an editable installation starts
# more slowly and would find other packages of the development environment.
pip() { .venv/bin/python -m pip install -qq --disable-pip-version-check --target "$@" 2>&1; }
fresh() { # DIRECTORY SOURCE…: is DIRECTORY newer than all sources?
    [[ -e $1 && -z $(find "${@:2}" -newer "$1" ! -name '*.pyc' ! -name __pycache__ -print -quit) ]]
}
if ! fresh .bench/size/ours agent_router setup.py; then
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    # A copy, because pip leaves build/ in the source directory.
    cp -r setup.py pyproject.toml README.md LICENSE agent_router plugins.d schemas "$source"
    if fresh .bench/size/ours setup.py; then
        pip .bench/size/ours --upgrade --no-deps "$source"
    else
        rm -rf .bench/size/ours
        pip .bench/size/ours "${source}[fast]"
    fi
    touch .bench/size/ours
fi
# IPA for its size only; the one that runs is in .bench/ipa, or given by BENCH_IPA.
[[ -e .bench/size/ipa ]] || pip .bench/size/ipa ironic-python-agent==13.0.0
