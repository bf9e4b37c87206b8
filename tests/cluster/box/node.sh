#!/bin/bash
# node.sh N: one node, containerd and kubelet, in a mount namespace of its own, so that each has its folders where it expects them.
# Environment as of inside.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
N=$1 NODE=$B/node$1
. "$here/wait_for.sh"

mounts() {
    mkdir -p "$NODE"/{kubelet,pods,containerd,cni/net.d,cni/bin}
    for folder in /run/netns /var/lib/kubelet /var/log/pods /var/log/containers /var/lib/containerd /run/containerd /etc/cni /var/lib/cni; do
        [ -d $folder ] || { mkdir -p $folder && echo $folder >> "$B/made"; }
    done
    for pair in kubelet:/var/lib/kubelet pods:/var/log/pods containerd:/var/lib/containerd cni:/etc/cni; do
        mount --bind "$NODE/${pair%%:*}" "${pair#*:}"
    done
    for folder in /run/netns /run/containerd /var/lib/cni /var/log/containers; do mount -t tmpfs tmpfs $folder; done
    mount --make-rshared /
}

settings() {
    for file in containerd.toml kubelet.yaml 10-box.conflist; do sed "s#@B@#$B#g;s#@N@#$N#g;s#@GROUP@#$GROUP#g" "$here/$file" > "$NODE/$file"; done
    mv "$NODE/10-box.conflist" /etc/cni/net.d/
    for plugin in bridge host-local portmap loopback; do ln -s /usr/lib/cni/$plugin "$NODE/cni/bin/"; done
    ln -s "$here/cni-loopback" "$NODE/cni/bin/keyroll-loopback"
}

# A cgroup of its own in each hierarchy, so that nothing of the machine's is touched.
cgroups() {
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -e "$hierarchy/cgroup.procs" ] || continue
        for group in "$GROUP" "$GROUP/node$N"; do
            mkdir -p "$hierarchy/$group"
            for file in cpuset.cpus cpuset.mems; do # version 1: an empty one takes no process
                if [ -e "$hierarchy/$file" ] && [ -z "$(cat "$hierarchy/$group/$file")" ]; then cat "$hierarchy/$file" > "$hierarchy/$group/$file"; fi
            done
        done
    done
}

mounts
settings
cgroups
containerd --config "$NODE/containerd.toml" > "$B/log/containerd$N.log" 2>&1 &
wait_for containerd ctr version
for file in "$B/pause.tar" $IMAGES; do ctr -n k8s.io images import "$file"; done
exec kubelet --config="$NODE/kubelet.yaml" --kubeconfig="$B/node$N.kubeconfig" --hostname-override="node$N" --node-ip="192.168.50.$N" \
    > "$B/log/kubelet$N.log" 2>&1
