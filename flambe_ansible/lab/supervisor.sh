#!/bin/sh
# Runs one host of the lab, in a mount and a network namespace that end with it.
# $1: the host's folder, with run.env (shell assignments), nspawn.args (an argument a line), and firewall.nft if the
# host has security groups.
set -eu
folder=$1
trap 'echo $? >"$folder/ended"' EXIT
# shellcheck source=/dev/null
. "$folder/run.env"

# Moves this shell into a group below each of the host's; the old cpuset hierarchy needs CPUs first.
enter() {
    for group in $GROUPS_; do
        mkdir -p "$group/$1"
        if [ -e "$group/$1/cpuset.cpus" ]; then
            cat "$group/cpuset.cpus" >"$group/$1/cpuset.cpus" || :
            cat "$group/cpuset.mems" >"$group/$1/cpuset.mems" || :
        fi
        sh -c 'echo $PPID' >"$group/$1/cgroup.procs"
    done
}
enter own

# The lab changes the rules of a running host in the namespace of this process: it is recorded before they are read.
echo $$ >"$folder/supervisor.pid"
filter() { if [ -e "$folder/firewall.nft" ]; then nft -f "$folder/firewall.nft"; fi; }
filter

# The other end of the link is on the machine's bridge; the lab removes it when it ends the host.
outside() { nsenter --net="$MACHINE_NET" -- "$@"; }
if outside test -e "/sys/class/net/$LINK"; then outside ip link delete "$LINK"; fi
outside ip link add "$LINK" mtu "$MTU" type veth peer name eth0 mtu "$MTU" address "$MAC" netns $$
outside ip link set "$LINK" master "$BRIDGE" up
ip -batch - <<END
link set lo up
link set eth0 up
addr add $ADDRESS/$PREFIX_LENGTH dev eth0
route add default via $GATEWAY
END

mkdir -p "$folder/upper" "$folder/work" "$folder/root"
disk=$folder
# A small disk, if a fault of the lab wants one. It ends with this namespace.
if [ -e "$folder/disk.size" ]; then
    disk=$folder/small
    mkdir -p "$disk"
    mount -t tmpfs -o "size=$(cat "$folder/disk.size")m" flambe-lab "$disk"
    mkdir "$disk/work"
    cp -a "$folder/upper" "$disk/upper"
fi
# redirect_dir: a folder of the image can be renamed, as on a disk; dockerd does that at each start.
# The new mount API limits each option to 256 characters.
options="redirect_dir=on,lowerdir=$LOWER,upperdir=$disk/upper,workdir=$disk/work"
LIBMOUNT_FORCE_MOUNT2=always mount -t overlay -o "$options" flambe-lab "$folder/root"
# systemd-nspawn leaves locks and sockets below /run; they end with this namespace.
mount -t tmpfs -o mode=0755 flambe-lab /run

set --
while IFS= read -r argument; do set -- "$@" "$argument"; done <"$folder/nspawn.args"
while :; do
    status=0
    filter
    (
        enter host
        # /tmp is on the host's disk, as on a cloud host.
        SYSTEMD_NSPAWN_TMPFS_TMP=0 exec systemd-nspawn "$@"
    ) || status=$?
    # systemd-nspawn exits with 133 if the host rebooted.
    [ "$status" = 133 ] || break
done
exit "$status"
