#!/bin/bash
# apart.sh COMMAND…: run it, as root, where nothing of it can outlive it: processes, mounts, network namespaces and
# shared memory are its own, and are gone when it ends, however it ends. For another user it just runs.
set -euo pipefail

if ((EUID != 0)); then
    exec "$@"
fi
if [[ $1 != --inside ]]; then
    # Whoever started this and dies takes it along.
    exec setpriv --pdeathsig KILL unshare --mount --pid --ipc --fork --kill-child --mount-proc "$0" --inside "$@"
fi
shift
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
"$@" # not exec: this shell is process 1, and collects what lost its parent
