#!/bin/bash
# A few short forwards of backend cuda, first run, recorded, replayed and timed, under a tool of
# compute-sanitizer, and a line that says what it found of each shape.
# Usage: sanitize_forward.sh memcheck|racecheck|synccheck|initcheck CHECKFORWARD SHAPES [OPTION...]
# Exits 0 if it finds nothing, 1 if it does, 77 (skipped) where there is no sanitizer or no GPU.
set -u
[ $# -ge 3 ] || { sed -n '4p' "$0" >&2; exit 2; }
tool=$1 checkforward=$2 shapes=$3
shift 3
"$checkforward" --shapes "$shapes" --shape 0 --forwards 1 --batches 0 --canvas 65
rc=$?
[ $rc -eq 0 ] || exit $rc
n_bad=0
for shape in 0 4; do # the smallest of LLaDA-MoE and of LLaDA2.x
    "$(dirname "$0")/../sanitized.sh" "$tool" 300 "forward of shape $shape" \
        "$checkforward" --shapes "$shapes" --shape $shape --forwards 1 --batches 0 --runs 2 \
        --canvas 65 --seed 3 "$@"
    rc=$?
    [ $rc -eq 77 ] && exit 77
    [ $rc -eq 0 ] || n_bad=$((n_bad + 1))
done
if [ $n_bad -gt 0 ]; then
    echo "$tool: forwards of $n_bad shapes are not clean" >&2
    exit 1
fi
