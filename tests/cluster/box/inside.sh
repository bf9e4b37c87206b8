#!/bin/bash
# The first process of the cluster's namespaces (started by box.py): network, identities, control plane, and a node.sh for each node.
#
# B: folder for all it writes; GROUP: name of its cgroups; IMAGES: docker archives to load; KEYROLL_KUBERNETES: programs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$KEYROLL_KUBERNETES:$PATH
ADDRESS=192.168.50.1 POD_NET=10.244.0.0/16 SERVICE_NET=10.96.0.0/16 NODES="1 2"
. "$here/wait_for.sh"

network() {
    ip link set lo up
    ip link add br-node type bridge
    for node in $NODES; do ip addr add 192.168.50.$node/24 dev br-node; done
    ip link set br-node up
    ip route add default via 192.168.50.254 dev br-node # the kubelet wants one; nothing answers there
    sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
    # Second half of cni-loopback: what a pod sends to the test's servers comes from 127.0.0.1 to 127.0.0.1.
    iptables -w -t nat -A PREROUTING -i cni+ -d $ADDRESS -p tcp --dport 32768:60999 -j DNAT --to-destination 127.0.0.1
    iptables -w -t nat -A INPUT -i cni+ -d 127.0.0.1 -p tcp -j SNAT --to-source 127.0.0.1
}

# The kubelet sets these for the whole machine unless they already read as it wants them: it is shown copies.
machine_settings() {
    mount --make-rprivate /
    mkdir -p "$B/machine"
    for pair in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 \
        kernel/keys/root_maxbytes=25000000; do
        copy=$B/machine/$(echo ${pair%%=*} | tr / .)
        echo ${pair#*=} > "$copy"
        mount --bind "$copy" /proc/sys/${pair%%=*}
    done
}

leaf() { # NAME SUBJECT ALTERNATIVE-NAMES
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2> /dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
        -extfile <(echo "subjectAltName=$3") 2> /dev/null
}

identity() { # NAME USER [GROUP]
    echo "$1-token,$2,$1${3:+,$3}" >> tokens.csv
    cat > "$B/$1.kubeconfig" << Y
apiVersion: v1
kind: Config
clusters: [{name: box, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $B/pki/ca.crt}}]
users: [{name: user, user: {token: $1-token}}]
contexts: [{name: box, context: {cluster: box, user: user}}]
current-context: box
Y
}

identities() {
    mkdir -p "$B/pki" && cd "$B/pki"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=box-ca 2> /dev/null
    openssl genrsa -out sa.key 2048 2> /dev/null
    leaf apiserver /CN=kube-apiserver \
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$ADDRESS,IP:10.96.0.1"
    leaf kubelet-client /O=system:masters/CN=apiserver-kubelet DNS:kubelet-client
    leaf front-proxy /CN=front-proxy DNS:front-proxy
    identity admin admin system:masters
    identity controllers system:kube-controller-manager
    identity scheduler system:kube-scheduler
    identity proxy system:kube-proxy
    for node in $NODES; do identity node$node system:node:node$node system:nodes; done
}

control_plane() {
    cd "$B/pki"
    etcd --data-dir "$B/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync > "$B/log/etcd.log" 2>&1 &
    # The front proxy's certificate and aggregator routing: KEDA serves metrics through the API server.
    kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=$ADDRESS --secure-port=6443 \
        --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt --token-auth-file=tokens.csv \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged \
        --kubelet-preferred-address-types=InternalIP --kubelet-client-certificate=kubelet-client.crt --kubelet-client-key=kubelet-client.key \
        --requestheader-client-ca-file=ca.crt --proxy-client-cert-file=front-proxy.crt --proxy-client-key-file=front-proxy.key \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file=sa.key --service-account-signing-key-file=sa.key --service-cluster-ip-range=$SERVICE_NET \
        --enable-aggregator-routing=true > "$B/log/apiserver.log" 2>&1 &
    wait_for "the API server" kubectl --kubeconfig "$B/admin.kubeconfig" get --raw /readyz
    kube-controller-manager --kubeconfig="$B/controllers.kubeconfig" --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
        --use-service-account-credentials=true --leader-elect=false --bind-address=127.0.0.1 --cluster-signing-cert-file=ca.crt \
        --cluster-signing-key-file=ca.key --horizontal-pod-autoscaler-sync-period=5s > "$B/log/controllers.log" 2>&1 &
    kube-scheduler --kubeconfig="$B/scheduler.kubeconfig" --authentication-kubeconfig="$B/scheduler.kubeconfig" \
        --authorization-kubeconfig="$B/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 > "$B/log/scheduler.log" 2>&1 &
}

pause_image() { # made without a builder: one layer, one file
    mkdir -p "$B/pause"
    gcc -O2 -static -o "$B/pause/pause" "$here/pause.c"
    "$here/scratch-image" "$B/pause.tar" localhost/pause:1 '{"User":"65535:65535","Entrypoint":["/pause"]}' "$B/pause"
}

# One kube-proxy and one CoreDNS serve all nodes: they share the network.
services() {
    export KUBECONFIG=$B/admin.kubeconfig
    kubectl create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy
    kube-proxy --kubeconfig="$B/proxy.kubeconfig" --hostname-override=node1 --proxy-mode=iptables --cluster-cidr=$POD_NET \
        --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 --bind-address=$ADDRESS \
        --metrics-bind-address=127.0.0.1:10249 --healthz-bind-address=127.0.0.1:10256 > "$B/log/proxy.log" 2>&1 &
    kubectl apply -f "$here/dns.yaml"
    sed "s#@B@#$B#" "$here/Corefile" > "$B/Corefile"
    coredns -conf "$B/Corefile" > "$B/log/coredns.log" 2>&1 &
}

network
machine_settings
identities
control_plane
pause_image
for node in $NODES; do unshare --mount --propagation private bash "$here/node.sh" "$node" > "$B/log/node$node.log" 2>&1 & done
services
for node in $NODES; do
    wait_for "node$node" kubectl get node "node$node"
    kubectl wait --for=condition=Ready "node/node$node" --timeout=300s
done
touch "$B/ready"
wait
