#!/bin/bash
# apart.sh COMMAND…: run the command so that, as root, nothing outlives it: it has its own processes, mounts, network
# namespaces and shared memory, which are gone however it ends. For other users, just run it.
set -euo pipefail

if ((EUID != 0)); then
    exec "$@"
fi
if [[ $1 != --inside ]]; then
    # Die with the parent.
    exec setpriv --pdeathsig KILL unshare --mount --pid --ipc --fork --kill-child --mount-proc "$0" --inside "$@"
fi
shift
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
"$@" # not exec: this shell is process 1 and reaps orphans
