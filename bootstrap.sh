#!/bin/sh
# From a fresh clone to a built program on Debian 12, then run it or its tests.
#
#   ./bootstrap.sh [build]       install what is missing, build build/desbench
#   ./bootstrap.sh run [ARG...]  the same, then `build/desbench run ARG...`
#   ./bootstrap.sh test          the same, then every test; ends with "tests: N passed, ..."
#
# Packages are installed with apt-get, as root or through sudo, and only when one is missing, so
# a second call starts at once. On another system install the same libraries by its own means
# and use meson directly (README.md).
set -eu
cd "$(dirname "$0")"

packages='gcc libc6-dev meson ninja-build pkg-config python3 git
    libcriterion-dev libcsv-dev libsqlite3-dev libjansson-dev libgmp-dev
    libutf8proc-dev libseccomp-dev libssl-dev libyaml-dev zlib1g-dev
    libcurl4-openssl-dev'

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

install_packages() {
    command -v dpkg-query >/dev/null || {
        say 'not a Debian system: expecting the libraries of README.md to be installed'
        return 0
    }
    missing=
    for p in $packages; do
        case "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" in
        *' installed') ;;
        *) missing="$missing $p" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "need root or sudo to install:$missing"
        sudo=sudo
    fi
    # shellcheck disable=SC2086 # the lists are meant to be split
    $sudo apt-get update -q >&2 || say 'apt-get update failed; trying with the lists there are'
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $missing >&2 || die "cannot install:$missing"
}

build() {
    # shellcheck disable=SC2086 # DESBENCH_SETUP may hold several meson options
    [ -f build/build.ninja ] || meson setup build ${DESBENCH_SETUP:-} >&2
    ninja -C build >&2
}

# Sums over the TAP and exit-code tests of the last `meson test`, as one plain line.
count_tests() {
    python3 - build/meson-logs/testlog.junit.xml <<'END'
import sys, xml.etree.ElementTree as tree
total = failed = skipped = 0
for suite in tree.parse(sys.argv[1]).getroot().iter("testsuite"):
    total += int(suite.get("tests", 0))
    failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped += int(suite.get("skipped", 0))
print(f"tests: {total - failed - skipped} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or total == 0)
END
}

verb=${1:-build}
[ $# -eq 0 ] || shift
case "$verb" in
build | run | test) ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
install_packages
build
case "$verb" in
run) exec build/desbench run "$@" ;;
test)
    status=0
    meson test -C build --no-rebuild --print-errorlogs --timeout-multiplier 6 "$@" || status=$?
    count_tests || status=1
    exit "$status"
    ;;
esac
