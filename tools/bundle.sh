#!/bin/bash
# The program and all it needs in one archive, for a machine with an NVIDIA driver and nothing else.
#
#   tools/bundle.sh [--models all|none|NAME,...] [-o FILE] [-b BUILD] [-DMESON_OPTION=...]
#
# Builds in build-bundle/ (release, made where it is not there), or in a build folder that there is,
# puts the shared libraries beside the program and packs desbench-bundle.tar.gz:
#
#   desbench/desbench         starts it: checks the C library, then bin/desbench
#   desbench/checkkern        the same for the check of the kernels
#   desbench/bin/             programs
#   desbench/lib/             shared libraries, but for the C library's
#   desbench/share/desbench/  models (by default mini-e64; shapes always), plans, tasks
#
# The other machine needs x86-64 Linux, a C library about as new as this one's (the starter checks
# and tells), for the cuda backend a driver for the CUDA this was built with, and python3 for tasks that run programs.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'bundle: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 2
}

models=mini-e64
out=desbench-bundle.tar.gz
build=build-bundle
options=()
while [ $# -gt 0 ]; do
    case "$1" in
    --models) [ $# -gt 1 ] || die "--models needs names"; models=$2; shift ;;
    -o) [ $# -gt 1 ] || die "-o needs a file"; out=$2; shift ;;
    -b) [ $# -gt 1 ] || die "-b needs a build folder"; build=$2; shift ;;
    --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -D*) options+=("$1") ;;
    *) die "'$1' is not an option; try --help" ;;
    esac
    shift
done
if [ "$models" != all ] && [ "$models" != none ]; then
    for m in ${models//,/ }; do
        [ -f "models/$m/config.json" ] || die "there is no model '$m' in models/"
    done
fi

[ -f "$build/build.ninja" ] ||
    meson setup "$build" --buildtype=release --prefix=/ --libdir=lib "${options[@]}" >&2
checkkern=
if ninja -C "$build" -t query tests/kernels/checkkern >/dev/null 2>&1; then # with Criterion alone
    checkkern=tests/kernels/checkkern
fi
# shellcheck disable=SC2086 # one target or none
ninja -C "$build" desbench $checkkern >&2

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/desbench
mkdir -p "$top/bin" "$top/lib" "$top/share/desbench/models" "$top/share/desbench/tasks"
for p in desbench $checkkern; do
    strip -o "$top/bin/${p##*/}" "$build/$p"
done
for m in models/*/; do
    m=$(basename "$m")
    case ",$models,shapes," in
    *",$m,"*) ;;
    *) [ "$models" = all ] || continue ;;
    esac
    cp -R "models/$m" "$top/share/desbench/models/"
done
cp -R plans "$top/share/desbench/"
cp -R tasks/sample tasks/mini "$top/share/desbench/tasks/"

# Every library but the C library's own parts, which have to fit the machine's loader and kernel.
copy_libraries() {
    ldd "$top/bin/desbench" | while read -r name arrow path _; do
        [ "$arrow" = '=>' ] || continue
        case "$name" in
        libc.so.* | libm.so.* | libdl.so.* | librt.so.* | libpthread.so.* | libresolv.so.*) continue ;;
        esac
        [ -f "$path" ] || { say "'$name' is not on this machine"; return 1; }
        install -m 644 "$(readlink -f "$path")" "$top/lib/$name"
    done
}
copy_libraries

# the newest version of the C library that any of them asks for
libc=$(objdump -T "$top"/bin/* "$top"/lib/* | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
for p in desbench $checkkern; do
    cat >"$top/${p##*/}" <<END
#!/bin/sh
# Starts bin/${p##*/} with the libraries beside it.
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")" && pwd)
have=\$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
if [ "\$(printf '%s\n' $libc "\$have" | sort -V | head -n 1)" != $libc ]; then
    echo "desbench: the C library here is '\$have', this program needs GNU libc $libc or newer" >&2
    exit 3
fi
LD_LIBRARY_PATH=\$here/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec "\$here/bin/${p##*/}" "\$@"
END
    chmod 755 "$top/${p##*/}"
done
tar --sort=name --owner=0 --group=0 --numeric-owner -C "$stage" -cf - desbench | gzip -9 >"$out.part"
mv "$out.part" "$out"
say "$out: $(stat -c %s "$out") bytes, models: $models"
