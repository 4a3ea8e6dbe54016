#!/bin/bash
# python.sh: print the path of the Python interpreter for the virtual environment.
# Debian's own is preferred: it is the one in the ramdisk, and python3 on PATH may be a shim.
set -euo pipefail

for python in /usr/bin/python3 python3; do
    if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$python"
        exit 0
    fi
done
echo "Python 3.11 or newer with the venv module is required; /usr/bin/python3 and python3 on PATH are not." >&2
exit 1
