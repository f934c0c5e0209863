#!/bin/bash
# Are the files that git knows formatted by .clang-format? Exits 1 naming those that are not, 77
# (skipped) where this cannot be told. Usage: check_format.sh [ROOT]; CLANG_FORMAT: the program.
set -u
cd "${1:-$(dirname "$0")/..}" || exit 2
tool=${CLANG_FORMAT:-clang-format}

skip() {
    echo "skipped: $*" >&2
    exit 77
}
command -v "$tool" >/dev/null || skip "there is no $tool"
# versions differ in what they make of the same settings
[[ $("$tool" --version) == *"version 14."* ]] || skip "$tool is not of version 14"
git rev-parse --git-dir >/dev/null 2>&1 || skip "not a git checkout"
mapfile -t files < <(git ls-files -- '*.c' '*.h' '*.cu' '*.cuh')
if ! "$tool" --dry-run -Werror "${files[@]}" 2>/dev/null; then
    for file in "${files[@]}"; do
        "$tool" --dry-run -Werror "$file" 2>/dev/null || echo "$file is not formatted; run: $tool -i $file" >&2
    done
    exit 1
fi
echo "${#files[@]} files are formatted"
