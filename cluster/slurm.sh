#!/bin/bash
# A sweep on nodes that Slurm gives:   sbatch cluster/slurm.sh search_spaces/digits.py [OPTIONS of nnray sweep]
#
# Starts Ray on the allocated nodes and runs the sweep on the first of them. When time runs out, submit it again: it goes on
# where it stopped. Fill in: what to ask Slurm for, and where nnray is installed.
#SBATCH --job-name=nnray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=nnray-%j.log

set -euo pipefail
if (($# == 0)); then echo "usage: sbatch $0 SPACE [OPTIONS of nnray sweep]" >&2; exit 2; fi

# Where nnray is installed, on a file system that all nodes see; left out, nnray and ray are looked up on PATH.
# source "$HOME/nnray/.venv/bin/activate"
# The store must be on a file system that all nodes see and whose locks work. Scratch folders of single nodes are not.
export NNRAY_STORE=${NNRAY_STORE:-$SLURM_SUBMIT_DIR/nnray-store}

# A token of this job's own, which only its owner can read, keeps other users of the nodes out.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
step=(srun --nodes=1 --ntasks=1 --overlap)
ip=$("${step[@]}" --nodelist="$head" hostname --ip-address)
ip=${ip%% *}
port=$((20000 + SLURM_JOB_ID % 20000))   # several jobs may share a node
ray=(ray start --block --disable-usage-stats --num-cpus="${SLURM_CPUS_PER_TASK:-1}")
[[ -z ${SLURM_GPUS_ON_NODE:-} ]] || ray+=(--num-gpus="$SLURM_GPUS_ON_NODE")

folder=/tmp/ray-$SLURM_JOB_ID             # and users must not meet in /tmp/ray

stop() {
  kill "${steps[@]}" 2>/dev/null || true
  wait "${steps[@]}" 2>/dev/null || true
  for node in "${nodes[@]}"; do "${step[@]}" --nodelist="$node" rm -rf "$folder" || true; done
}
steps=()
trap stop EXIT

"${step[@]}" --nodelist="$head" "${ray[@]}" --head --node-ip-address="$ip" --port="$port" --temp-dir="$folder" \
  --include-dashboard=false &
steps+=($!)
for node in "${nodes[@]:1}"; do
  "${step[@]}" --nodelist="$node" "${ray[@]}" --address="$ip:$port" &
  steps+=($!)
done
until ray status --address="$ip:$port" 2>/dev/null | grep -c '^ 1 node_' | grep -qx "${#nodes[@]}"; do
  for pid in "${steps[@]}"; do kill -0 "$pid" || { echo "a node did not start Ray, see above" >&2; exit 1; }; done
  sleep 1
done

# Slurm sends INT two minutes before the end, to this shell: the sweep stops cleanly, and Ray after it.
set -m   # a job in the background heeds INT only so
nnray sweep "$@" --address "$ip:$port" &
sweep=$!
set +m
trap 'kill -INT "$sweep"' INT
status=0
wait "$sweep" || status=$?
while kill -0 "$sweep" 2>/dev/null; do status=0; wait "$sweep" || status=$?; done
exit "$status"
