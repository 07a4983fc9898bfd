#!/usr/bin/env bash
# Start the cluster, and a training on it that goes on when this terminal is closed.
#
#     bash examples/cluster/submit.sh examples/cluster/cluster.yaml --workers 64 --collectors 8
set -euo pipefail
config=$1
shift
export RAY_AUTH_MODE=token  # else whoever reaches the cluster's ports can run code on it
ray get-auth-token --generate > /dev/null  # cluster.yaml sends it to the nodes
ray up --yes "$config"
ray dashboard "$config" &  # forwards the port that jobs are submitted to
tunnel=$!
trap 'kill "$tunnel"' EXIT
sleep 5
# The folder of the script travels with the job. The checkpoint stays on the head node; submit the
# job again, and it goes on.
ray job submit --address http://127.0.0.1:8265 --no-wait --working-dir examples/cluster -- \
  python train.py --out "${OUT:-/tmp/gfn-gym-cluster}" "$@"
