#!/bin/sh
# Make a shipped model from nothing: the stream, the training, the export.
#
#     tools/train_mini/reproduce.sh mini-e64 OUT [STEPS]
#
# OUT/shards is kept and used again. All CUDA devices of CUDA_VISIBLE_DEVICES (two at most are of
# use) share the training; one H100 takes less than 20 minutes. A run that was interrupted goes on
# from its last checkpoint.
set -eu
name=$1 out=$2 steps=${3:-13000}
here=$(cd "$(dirname "$0")" && pwd)
n_exp=${name#mini-e}
mkdir -p "$out/shards"
python3 "$here/make_shards.py" "$out/shards" 700 "$(nproc)" >"$out/shards.log" &
n_gpu=$(python3 -c 'import torch; print(min(2, torch.cuda.device_count()))')
export OMP_NUM_THREADS=4
if [ "$n_gpu" -gt 1 ]; then
    set -- torchrun --nproc-per-node "$n_gpu" --master-port $((29500 + n_exp)) "$here/train.py"
else
    set -- python3 "$here/train.py"
fi
"$@" --shards "$out/shards" --out "$out" --name "$name" --n-exp "$n_exp" --micro 2 --steps "$steps" \
    --min-shards 100 --resume
wait
python3 "$here/export.py" "$out/$name.bf16.pt" "$out/$name"
