#!/bin/sh
# Make a shipped model from nothing: the stream, the training, the export.
#
#     tools/train_mini/reproduce.sh mini-e64 OUT [OPTION OF THE TRAINER ...]
#
# OUT/shards is kept and used again. mini-e64 and mini2-e64 are trained on two CUDA devices where
# there are two, mini-e16 on one. A run that was interrupted goes on from its last checkpoint.
# Options come after the model's own and win over them. SHARDS: of the stream, else 700. A trial of
# the whole way takes minutes, on a CPU too:
#
#     SHARDS=2 tools/train_mini/reproduce.sh mini2-e64 OUT --steps 2 --batch-tokens 4096 --micro 1 --min-shards 1
set -eu
name=$1 out=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
train=$here/train.py
n_gpu=$(python3 -c 'import torch; print(max(1, min(2, torch.cuda.device_count())))')
case $name in
mini-e64)
    set -- --n-exp 64 --micro 2 --steps 13000 --min-shards 100 "$@"
    ;;
mini2-e64)
    train=$here/block_train.py
    set -- --batch-tokens $((131072 / n_gpu)) --micro "$n_gpu" --steps 14760 --min-shards 60 "$@"
    ;;
mini-e16)
    set -- --n-exp 16 --batch-tokens 131072 --steps 9500 --min-shards 60 "$@"
    n_gpu=1
    ;;
*)
    echo "no such model: $name" >&2
    exit 2
    ;;
esac
mkdir -p "$out/shards"
nice python3 "$here/make_shards.py" "$out/shards" "${SHARDS:-700}" "$(nproc)" >"$out/shards.log" &
shards=$!
export OMP_NUM_THREADS=4
if [ "$n_gpu" -gt 1 ]; then
    torchrun --nproc-per-node "$n_gpu" "$train" --shards "$out/shards" --out "$out" --name "$name" --resume "$@"
else
    python3 "$train" --shards "$out/shards" --out "$out" --name "$name" --resume "$@"
fi
wait "$shards"
python3 "$here/export.py" "$out/$name.bf16.pt" "$out/$name" --threshold 0.95
