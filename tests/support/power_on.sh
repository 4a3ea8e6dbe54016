#!/bin/bash
# power_on.sh DIR PYTHON REPO DISK… -- COMMAND…: what lies in the private world of one test machine.
# Started as process 1 of its own PID and mount namespaces. Nothing of the real machine can be reached by accident:
# the root is an overlay in memory, the block devices are hidden but for the machine's own loop devices,
# and to power off, by program or by system call, ends these namespaces and no more.
set -euo pipefail
(($$ == 1)) || { echo "power_on.sh: not in a PID namespace of its own" >&2; exit 1; }

dir=$1 python=$2 repo=$3
shift 3
disks=()
while [[ $1 != -- ]]; do
    disks+=("${1##*/}")
    shift
done
shift

mount -t tmpfs machine "$dir/ram"
mkdir "$dir"/ram/{upper,work,root}
root=$dir/ram/root
mount -t overlay -o "lowerdir=/,upperdir=$dir/ram/upper,workdir=$dir/ram/work" machine "$root"

# Interpreter and sources may lie on other file systems than the root.
for needed in "$repo" "$("$python" -c 'import sys; print(sys.prefix)')"; do
    mkdir -p "$root$needed"
    mount --bind -o ro "$needed" "$root$needed"
done
# And so may the directory of the tests, where a vendor's plugins lie beside that of this boot.
mkdir -p "$root${dir%/*}"
mount --bind "${dir%/*}" "$root${dir%/*}"

mount -t proc proc "$root/proc"
[[ ! -e $root/proc/sysrq-trigger ]] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"

# Only its own disks: in /dev, where a hidden one is no block device any more, and in the kernel's list of disks.
for path in /sys/class/block/*; do
    name=${path##*/}
    [[ " ${disks[*]} " =~ \ (${name}|${name%p[0-9]*})\  ]] && continue
    device=$root/dev/${name//!//}
    [[ ! -b $device ]] || mount --bind /dev/null "$device"
done
mkdir "$dir/ram/block"
for disk in "${disks[@]}"; do
    ln -s "/sys/devices/virtual/block/$disk" "$dir/ram/block/$disk"
done
mount --bind "$dir/ram/block" "$root/sys/block"
# Its network card is a piece of hardware, which the end of a cable between two programs is not.
mkdir -p "$dir/ram/net/eth0/device"
for name in address carrier operstate type; do
    cat "/sys/class/net/eth0/$name" >"$dir/ram/net/eth0/$name"
done
ln -s ../../devices/virtual/net/lo "$dir/ram/net/lo"
mount --bind "$dir/ram/net" "$root/sys/class/net"

# What says that this is a utility ramdisk; its init, of which one asks the end; and no other way to the power switch.
mkdir -p "$root/usr/share/agent-router"
echo "test machine" >"$root/usr/share/agent-router/version"
cat >"$dir/ram/switch" <<SWITCH
#!/bin/sh
case "\${0##*/} \$*" in
    *poweroff* | *halt*) kill -USR2 1 ;;
    *reboot*) kill -USR1 1 ;;
    "busybox kill "*) shift && kill "\$@" ;;
esac
SWITCH
chmod 755 "$dir/ram/switch"
for program in systemctl poweroff reboot halt shutdown telinit busybox; do
    for place in /usr/bin /usr/sbin; do
        # Not mounted over: these may be links, and the links' targets are those of the real root.
        rm -f "$root$place/$program"
        cp "$dir/ram/switch" "$root$place/$program"
    done
done
# The network is the real machine's: no interface of it may go down, it is only written down that one should.
cp "$root/usr/bin/ip" "$dir/ram/ip"
cp "$dir/ram/ip" "$root/usr/bin/ip.real"
cat >"$dir/ram/ip" <<IP
#!/bin/sh
case " \$* " in
    *" link set "*) echo "\$*" >>"$dir/links" ;;
    *) exec /usr/bin/ip.real "\$@" ;;
esac
IP
chmod 755 "$dir/ram/ip"
for place in bin sbin; do
    rm -f "$root/usr/$place/ip"
    cp "$dir/ram/ip" "$root/usr/$place/ip"
done
cat >"$root/init" <<INIT
#!/bin/bash
# The machine ends with its process 1; a moment later, as the answer to the command is still on its way.
trap 'echo poweroff >>"$dir/switched"; sleep 0.5; exit' USR2
trap 'echo reboot >>"$dir/switched"; sleep 0.5; exit' USR1
trap : HUP
"\$@" &
agent=\$!
while kill -0 \$agent; do wait \$agent; done
INIT
chmod 755 "$root/init"

# Loop devices are no disks for lsblk, and so for nobody who chooses one; here they are the disks.
cp "$root/usr/bin/lsblk" "$dir/ram/lsblk"
cp "$dir/ram/lsblk" "$root/usr/bin/lsblk.real"
printf '%s\n' '#!/bin/bash' 'set -o pipefail' 'lsblk.real "$@" | sed "s/\"type\": *\"loop\"/\"type\": \"disk\"/"' >"$dir/ram/lsblk"
rm "$root/usr/bin/lsblk"
cp "$dir/ram/lsblk" "$root/usr/bin/lsblk"

exec chroot "$root" /init "$@"
