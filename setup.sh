#!/bin/bash
# From a fresh Debian 12 to a running tricot: installs packages, builds, then tests or demonstrates.
#
# Needs the network only when a package is missing. Everything it makes lies in build*/ and out/.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'END'
usage: ./setup.sh build            install what is missing, configure and build
       ./setup.sh test [--long]    build, then run the tests (about 12 minutes on 2 cores);
                                   --long adds the slow tests and the sanitizers
       ./setup.sh demo [options]   build, then train, evaluate and predict on CT volumes

options of build and test:
  --nvrtc WHERE  where CUDA code is compiled with NVRTC from: `system` (the default: what the
                 system's libraries have), `wheel` (a Python package nvidia-cuda-nvrtc of this user
                 or of $VIRTUAL_ENV), or a folder, in which it is searched. Nothing is installed.

options of demo:
  --data DIR     a data set in CT-RATE's layout (default: ../shared/data/ctrate-mini where it is
                 there, and then made-up volumes with ten findings, on which something is learned)
  --vocab FILE   a BERT vocabulary; without it one beside the data, else a small made-up one
  --out DIR      where results go (default: out/demo)
  --steps N      training steps (default: enough to learn from made-up volumes, about ten minutes
                 on 2 cores; 40 with --data)

For research use only. Not for diagnosis.
END
}

say() { printf '\n== %s\n' "$*" >&2; }
die() {
  printf 'setup.sh: error: %s\n' "$*" >&2
  exit 1
}

# ---- packages ----

packages=(gcc g++ libc6-dev binutils cmake ninja-build llvm-19-dev libflatbuffers-dev
  flatbuffers-compiler libyaml-dev zlib1g-dev libutf8proc-dev libcmocka-dev libxxhash-dev)

# only for `test`: the fuzz targets need clang's libFuzzer, the HTML report is looked at in Chromium
test_packages=(clang-19 libclang-rt-19-dev chromium)

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      echo "$package"
  done
}

install_packages() {
  command -v dpkg-query >/dev/null ||
    die "this script knows Debian's packages only; install by hand: ${packages[*]}"
  local missing sudo=
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086
  set -- $missing
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      die "not root, and there is no sudo. As root: apt-get install --no-install-recommends $*"
    sudo=sudo
  fi
  say "installing $*"
  $sudo apt-get update -q || die "apt-get update failed; is there a network?"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
    die "apt-get could not install: $*"
}

# ---- building ----

# Prints the folder of an NVRTC with its second library beside it.
nvrtc_in() { # nvrtc_in FOLDER...
  local found
  while read -r found; do
    if compgen -G "$(dirname "$found")/libnvrtc-builtins.so*" >/dev/null; then
      dirname "$found"
      return
    fi
  done < <(find "$@" -follow -name 'libnvrtc.so.1[23]' 2>/dev/null | sort -r)
  return 1
}

nvrtc_option=() # what an earlier build was told holds until it is told otherwise
find_nvrtc() { # find_nvrtc WHERE
  local places=("$1") nvrtc_dir=""
  case $1 in
  system) ;;
  wheel)
    places=("${VIRTUAL_ENV:-/nonexistent}" "$HOME"/.local/lib/python3* /usr/local/lib/python3*)
    nvrtc_dir=$(nvrtc_in "${places[@]}") ||
      die "no Python package with NVRTC was found; looked in ${places[*]}"
    ;;
  *)
    [ -d "$1" ] || die "--nvrtc: no folder $1"
    nvrtc_dir=$(cd "$1" && nvrtc_in "$PWD") || die "--nvrtc: no NVRTC in $1"
    ;;
  esac
  nvrtc_option=(-DTRICOT_NVRTC_DIR="$nvrtc_dir")
  say "NVRTC: ${nvrtc_dir:-as the system has it}"
}

build() { # build PRESET [TARGET...]
  local preset=$1 log folder=build
  shift
  [ "$preset" = release ] || folder=build-$preset
  log=$folder/configure.log
  mkdir -p "$folder"
  say "building ($preset, in $folder/)"
  cmake --preset "$preset" -B "$folder" "${nvrtc_option[@]}" >"$log" 2>&1 || {
    cat "$log" >&2
    die "cmake failed"
  }
  ninja -C "$folder" "$@"
}

# ---- testing ----

run_ctest() { # run_ctest FOLDER ARGUMENTS...: fails also when there was no test to run
  local folder=$1
  shift
  ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

test_all() {
  local long=$1
  build release
  if [ $long = yes ]; then
    say "unit tests under AddressSanitizer and UndefinedBehaviorSanitizer"
    build dev
    run_ctest build-dev -L fast
    say "building without LLVM"
    build cuda-only
    run_ctest build-cuda-only -L fast
    say "all tests"
    run_ctest build
  else
    say "fast tests (./setup.sh test --long runs all)"
    run_ctest build -L fast
  fi
}

# ---- the demonstration ----

demo() {
  local data= vocab= out=out/demo steps=
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
    --data) data=$2 ;;
    --vocab) vocab=$2 ;;
    --out) out=$2 ;;
    --steps) steps=$2 ;;
    *) die "unknown option $1 of demo" ;;
    esac
    shift 2
  done
  build release
  local real=../shared/data/ctrate-mini words=../shared/data/tokenizer/bert-base-uncased_vocab.txt
  if [ -z "$data" ] && [ -d "$real/dataset" ]; then
    say "first the job on the six volumes of $real (in $out/ctrate-mini)"
    [ -f "$words" ] || words=
    tests/demo.sh build/tricot "$out/ctrate-mini" "$real" "${vocab:-$words}" "$steps"
    say "now on made-up volumes, enough of them to learn from"
  fi
  exec tests/demo.sh build/tricot "$out" "$data" "$vocab" "$steps"
}

case "${1-}" in
build | test | demo) verb=$1 && shift ;;
-h | --help | help) usage && exit 0 ;;
*) usage >&2 && exit 2 ;;
esac
long=no
while [ "$verb" != demo ] && [ $# -gt 0 ]; do
  case $1 in
  --nvrtc)
    [ $# -ge 2 ] || die "--nvrtc needs a value"
    find_nvrtc "$2"
    shift
    ;;
  --long) [ "$verb" = test ] || die "--long goes with test" && long=yes ;;
  *) die "unknown option $1 of $verb" ;;
  esac
  shift
done
[ "$verb" != test ] || packages+=("${test_packages[@]}")
install_packages
case $verb in
build) build release ;;
test) test_all $long ;;
demo) demo "$@" ;;
esac
