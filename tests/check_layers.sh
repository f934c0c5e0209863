#!/bin/bash
# Who may include whom, and do headers stand on their own? Exits 1 naming each line that breaks a
# rule. Usage: check_layers.sh [--no-compile] [ROOT]; CC: the compiler, with its arguments.
#
#   1  An include of ours names its folder, "base/buf.h" (a test may name a file beside it alone);
#      the file, or the .in that it is made of, is there; and outside of base/ and of its own
#      folder it is one of the doors below.
#   2  A folder includes only itself and those below it. engine/ and tasks/ never meet; nothing
#      includes tests/.
#   3  Each outside library is known to one place only.
#   4  A header is guarded by its own name, FOLDER_FILE_H, and compiles alone; but for templates.
#   5  A .c file that has a header of its own name includes it first.
set -u
LC_ALL=C
export LC_ALL
compile=1
if [ "${1:-}" = --no-compile ]; then
    compile=0
    shift
fi
cd "${1:-$(dirname "$0")/..}" || exit 2

n_bad=0
bad() {
    echo "$*" >&2
    n_bad=$((n_bad + 1))
}

# Folder: what it may include besides itself. The longest matching folder counts.
declare -A may_include=(
    [base]=''
    [kernels]='base'
    [engine]='base kernels'
    [tasks]='base'
    [results]='base'
    [harness]='base kernels engine tasks results'
    [tests]='base kernels engine tasks results harness'
    [tools]='base kernels engine tasks results harness'
)
# What a folder shows to others; base/ shows all its headers. Tests may look behind the doors.
declare -A door=(
    [kernels]='kernels/kernels.h kernels/forward.h kernels/deal.h kernels/devices.h kernels/limits.h kernels/made.h kernels/profile.h'
    [engine]='engine/engine.h'
    [tasks]='tasks/task.h'
    [results]='results/results.h results/stats.h results/compare.h results/relative.h results/report.h'
    [harness/judge]='harness/judge/judge.h'
    [tasks/math]='tasks/math/math.h'
)
# System header (a pattern): the files that may include it (a pattern). json.h hands out jansson's
# own values, so that those who read JSON know it too.
libraries=(
    'sqlite3.h|results/store*'
    'csv.h|base/csv.c'
    'zlib.h|base/file.c'
    'openssl/*|base/file.c'
    'jansson.h|base/json.h tasks/*'
    'pcre2.h|tasks/*'
    'utf8proc.h|engine/pretokenize.c engine/tokenizer_nfc.c'
    'gmp.h|tasks/math/*'
    'yaml.h|base/yaml.c'
    'curl/*|base/http.c'
    'seccomp.h|harness/judge/*'
    'cuda*|kernels/cuda/*'
    'cublas*|kernels/cuda/*'
    'cub/*|kernels/cuda/*'
    'cooperative_groups*|kernels/cuda/*'
    'mma.h|kernels/cuda/*'
    'nvtx3/*|base/trace.* kernels/cuda/*'
    'criterion/*|tests/*'
)

# Code that files with other parameters include: no guard, and not for itself.
templates=(kernels/cpu/inner_body.h kernels/cpu/inner_gemm.h kernels/cpu/inner_vec.h kernels/cpu/inner_vec512.h)

matches() { # STRING PATTERN...
    local s=$1 p
    shift
    for p in "$@"; do
        # shellcheck disable=SC2053
        [[ $s == $p ]] && return 0
    done
    return 1
}

# The folder whose rules hold for a file: one with a door of its own, or the top one.
part_of() {
    local d=${1%/*}
    while [ "$d" != "${d%/*}" ] && [ -z "${door[$d]:-}" ]; do
        d=${d%/*}
    done
    echo "$d"
}

list_files() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -- '*.c' '*.h' '*.cu' '*.cuh'
    else
        find "${!may_include[@]}" -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh'
    fi | sort
}
mapfile -t files < <(list_files)
if [ "${#files[@]}" -eq 0 ]; then
    echo "no source files under '$PWD'" >&2
    exit 2
fi

check_own() { # FILE LINE INCLUDED
    local file=$1 line=$2 inc=$3 top=${1%%/*} inc_top=${3%%/*} part inc_part
    if [ "$inc" = "${inc%/*}" ]; then
        [ "$top" = tests ] && [ -e "${file%/*}/$inc" ] && return
        bad "$file:$line: \"$inc\" does not name its folder"
        return
    fi
    [ -e "$inc" ] || [ -e "$inc.in" ] || bad "$file:$line: there is no '$inc'"
    if [ "$inc_top" = tests ] && [ "$top" != tests ]; then
        bad "$file:$line: only tests include tests: \"$inc\""
        return
    fi
    if [ "$inc_top" != "$top" ] && ! matches "$inc_top" ${may_include[$top]:-}; then
        bad "$file:$line: $top/ may not include $inc_top/: \"$inc\""
        return
    fi
    part=$(part_of "$file")
    inc_part=$(part_of "$inc")
    if [ "$inc_part" != "$part" ] && [ "$inc_top" != base ] && [ "$top" != tests ] &&
        [[ $part != "$inc_part"/* ]] && ! matches "$inc" ${door[$inc_part]:-}; then
        bad "$file:$line: \"$inc\" is behind the door '${door[$inc_part]:-none}' of $inc_part/"
    fi
}

check_system() { # FILE LINE INCLUDED
    local entry
    [ "${1%%/*}" = tests ] && return
    for entry in "${libraries[@]}"; do
        if matches "$3" "${entry%%|*}"; then
            # shellcheck disable=SC2086
            (set -f; matches "$1" ${entry#*|}) ||
                bad "$1:$2: <$3> belongs to ${entry#*|} only"
            return
        fi
    done
}

while IFS=: read -r file line text; do
    case $text in
    *\"*\"*)
        text=${text#*\"}
        check_own "$file" "$line" "${text%%\"*}"
        ;;
    *'<'*'>'*)
        text=${text#*<}
        check_system "$file" "$line" "${text%%>*}"
        ;;
    esac
done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' -- "${files[@]}" /dev/null)

for file in "${files[@]}"; do
    matches "$file" "${templates[@]}" && continue
    case $file in
    *.h | *.cuh)
        guard=$(tr 'a-z/.-' 'A-Z___' <<<"$file")
        defined=$(sed -n 's/^#ifndef \([A-Z0-9_]*\)$/\1/p' "$file" | head -n 1)
        [ "$defined" = "$guard" ] ||
            bad "$file: guarded by '${defined:-nothing}', not by '$guard'"
        ;;
    *.c)
        own=${file%.c}.h
        first=$(sed -n 's/^#include "\(.*\)"$/\1/p' "$file" | head -n 1)
        if [ -e "$own" ] && [ "$first" != "$own" ] && [ "$first" != "${own##*/}" ]; then
            bad "$file: includes '${first:-nothing}' before its own header"
        fi
        ;;
    esac
done

if [ "$compile" -eq 1 ]; then
    for file in "${files[@]}"; do
        [[ $file == *.h && $file != tests/* ]] || continue
        matches "$file" "${templates[@]}" && continue
        # shellcheck disable=SC2086
        message=$(echo "#include \"$file\"" | ${CC:-cc} -std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror \
            -Wno-unused-function -I. -x c -fsyntax-only - 2>&1) ||
            bad "$file: does not compile alone: $(grep -m 1 error <<<"$message")"
    done
fi

if [ "$n_bad" -gt 0 ]; then
    echo "$n_bad violations; the rules stand at the head of tests/check_layers.sh" >&2
    exit 1
fi
echo "${#files[@]} files keep to the layers"
