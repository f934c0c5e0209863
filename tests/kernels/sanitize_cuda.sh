#!/bin/bash
# A few cases of every op of backend cuda under a tool of compute-sanitizer, and a line that says
# what it found of each.
# Usage: sanitize_cuda.sh memcheck|racecheck|synccheck|initcheck CHECKKERN [OPTION...]
# Exits 0 if it finds nothing, 1 if it does, 77 (skipped) where there is no sanitizer or no GPU.
set -u
[ $# -ge 2 ] || { sed -n '4p' "$0" >&2; exit 2; }
tool=$1 checkkern=$2
shift 2
"$checkkern" --backend cuda --op add --cases 1
rc=$?
[ $rc -eq 0 ] || exit $rc

# "batch" runs the same kernels thousands of times
ops=$("$checkkern" --help | sed -n '/^ops:/,/^$/s/^  \([a-z_0-9]*\) .*/\1/p' | grep -v '^batch$')
[ -n "$ops" ] || { echo "$checkkern --help names no ops" >&2; exit 1; }
n_bad=0
for op in $ops; do
    "$(dirname "$0")/../sanitized.sh" "$tool" 120 "op $op" \
        "$checkkern" --backend cuda --op "$op" --small --cases 3 --seed 3 "$@"
    rc=$?
    [ $rc -eq 77 ] && exit 77
    [ $rc -eq 0 ] || n_bad=$((n_bad + 1))
done
if [ $n_bad -gt 0 ]; then
    echo "$tool: $n_bad ops are not clean" >&2
    exit 1
fi
