#!/bin/bash
# A command under a tool of compute-sanitizer, and a line that says what was found.
# Usage: sanitized.sh memcheck|racecheck|synccheck|initcheck SECONDS NAME COMMAND...
# Exits 0 if it finds nothing, 1 if it does or does not end in time, 77 where there is no sanitizer.
set -u
[ $# -ge 4 ] || { sed -n '3p' "$0" >&2; exit 2; }
tool=$1 limit=$2 name=$3
shift 3
sanitizer=$(command -v compute-sanitizer) || sanitizer=/usr/local/cuda/bin/compute-sanitizer
if [ ! -x "$sanitizer" ]; then
    echo "skipped: there is no compute-sanitizer"
    exit 77
fi
start=$SECONDS
timeout "$limit" "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$@"
rc=$?
case $rc in
0) verdict=clean ;;
124) verdict='not finished' ;;
*) verdict="NOT CLEAN (exit code $rc)" ;;
esac
echo "$tool, $name: $verdict, $((SECONDS - start)) s"
[ $rc -eq 0 ] || exit 1
