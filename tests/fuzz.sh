#!/bin/bash
# Builds the fuzz targets of tests/fuzz in build-fuzz/ and runs them under libFuzzer with
# AddressSanitizer and UndefinedBehaviorSanitizer, one on each core.
#
# usage: tests/fuzz.sh SECONDS [READER...]    each reader for so long (all of them by default)
#        tests/fuzz.sh build                  only build
#
# Status 1 after a crash, a leak, an input that takes too long or too much memory; the input that
# shows it is then in build-fuzz/found/READER/. 77 where there is no clang with libFuzzer. What
# covers new code is kept in build-fuzz/corpus/READER/ for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: tests/fuzz.sh SECONDS|build [READER...]}
shift
memory=512      # MiB a target may hold
largest=16384   # bytes of an input; a thousand times as much may come out of a gzip file

find_clang() { # a clang that can link libFuzzer
  local clang
  for clang in ${CLANG-} clang-19 clang; do
    if echo 'int LLVMFuzzerTestOneInput(const char *b, long n) { return n && *b ? 0 : 0; }' |
      "$clang" -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null; then
      echo "$clang"
      return 0
    fi
  done
  return 1
}

build() {
  local clang
  if [ ! -f build-fuzz/build.ninja ]; then
    clang=$(find_clang) || {
      echo "skipped: no clang with libFuzzer (packages clang-19 and libclang-rt-19-dev)"
      exit 77
    }
    cmake --preset fuzz "-DCMAKE_C_COMPILER=$clang" "-DCMAKE_CXX_COMPILER=${clang/clang/clang++}" \
      >build-fuzz/configure.log 2>&1 || { cat build-fuzz/configure.log && exit 1; }
  fi
  ninja -C build-fuzz fuzz >build-fuzz/build.log 2>&1 || { cat build-fuzz/build.log && exit 1; }
}

# folders of seeds: this project's own files, and reference data where that is there
seeds() {
  local shared=${TRICOT_SHARED-../shared}/data folder
  local folders="tests/fuzz/seeds/$1"
  case $1 in
  nifti | gzip) folders+=" tests/fuzz/seeds/nifti $shared/corrupt $shared/edge" ;;
  safetensors) folders+=" $shared/safetensors" ;;
  yaml) folders+=" models tests/err" ;;
  graph) folders+=" tests/graph tests/err" ;;
  kernel) folders+=" tests/kernel" ;;
  esac
  for folder in $folders; do
    [ ! -d "$folder" ] || echo "$folder"
  done
}

fuzz() { # fuzz READER
  local reader=$1 corpus=build-fuzz/corpus/$1 found=build-fuzz/found/$1
  local log=build-fuzz/$1-$seconds.log
  local limit=2 scratch status=0 options=()
  # a short run is a test on a machine that may be busy; a long one also looks for slow inputs
  [ "$seconds" -ge 60 ] || { limit=20 && options+=(-seed=1); }
  [ ! -f "tests/fuzz/$reader.dict" ] || options+=("-dict=tests/fuzz/$reader.dict")
  mkdir -p "$corpus" "$found"
  scratch=$(mktemp -d)
  # shellcheck disable=SC2046
  TMPDIR=$scratch ASAN_OPTIONS=quarantine_size_mb=32 UBSAN_OPTIONS=print_stacktrace=1 \
    "build-fuzz/fuzz_$reader" -max_total_time="$seconds" -timeout=$limit -rss_limit_mb=$memory \
    -max_len=$largest -artifact_prefix="$found/" -print_final_stats=1 "${options[@]}" \
    "$corpus" $(seeds "$reader") >"$log" 2>&1 || status=$?
  rm -rf "$scratch"
  if [ $status != 0 ]; then
    grep -avE "^#[0-9]+[[:space:]]" "$log" | tail -n 60 # without the lines on progress
    echo "fuzz: $reader failed; the input: $(sed -n 's/.*unit written to //p' "$log" | tail -1)"
    return 1
  fi
  grep -aE '^(Done|stat::(number|peak))' "$log" | sed "s/^/$reader: /"
}

readers=("$@")
if [ ${#readers[@]} = 0 ]; then
  for file in tests/fuzz/fuzz_*.c; do
    reader=${file##*/fuzz_}
    readers+=("${reader%.c}")
  done
fi
mkdir -p build-fuzz
exec 9>build-fuzz/lock
flock 9 # tests run side by side; one of them builds
build
exec 9>&-
[ "$seconds" != build ] || exit 0
if [ ${#readers[@]} = 1 ]; then
  fuzz "${readers[0]}"
else
  printf '%s\n' "${readers[@]}" |
    xargs -P "$(nproc)" -I READER tests/fuzz.sh "$seconds" READER || exit 1
fi
