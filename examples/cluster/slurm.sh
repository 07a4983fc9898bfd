#!/usr/bin/env bash
# A Ray cluster inside a Slurm allocation, and the training on its first node:
#
#     sbatch examples/cluster/slurm.sh --workers 128 --collectors 16
#
# Fill in what your site needs: partition, account, the environment's path. When the time is up,
# submit it again: the training goes on from its checkpoint, on any number of nodes.
#SBATCH --job-name=gfn-gym
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --open-mode=append
set -euo pipefail
source "${VENV:-.venv}/bin/activate"
export RAY_AUTH_MODE=token  # else every user of the site can run code as you
ray get-auth-token --generate > /dev/null  # in the home directory, which all nodes see

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(head -n 1 <<< "$nodes")
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))  # two allocations may share a node
export RAY_ADDRESS="$address:$port"

# The learner keeps the first node to itself: no CPUs for others there.
srun --nodes=1 --ntasks=1 -w "$head" --overlap \
  ray start --head --node-ip-address="$address" --port="$port" --num-cpus=0 --block &
until ray health-check --address "$RAY_ADDRESS" &> /dev/null; do sleep 2; done
others=$((SLURM_JOB_NUM_NODES - 1))
srun --nodes="$others" --ntasks="$others" --exclude="$head" --overlap \
  ray start --address="$RAY_ADDRESS" --num-cpus="$SLURM_CPUS_PER_TASK" --block &

srun --nodes=1 --ntasks=1 -w "$head" --overlap \
  python examples/cluster/train.py --out "${OUT:-runs/cluster}" "$@"
