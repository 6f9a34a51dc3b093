#!/bin/bash
# tricot on a CUDA device: are results right, is memory kept in order, how fast is it, and PyTorch.
#
# usage: bench/gpu.sh goldens     reference values on the device (TRICOT_SHARED: where they are)
#        bench/gpu.sh sanitize    a training step of a small model under compute-sanitizer's tools
#        bench/gpu.sh own         forward, training and CLIP steps, and each kernel by itself
#        bench/gpu.sh peers       the same work in PyTorch, eager and torch.compile
#
# Each takes a few minutes and needs a driver and NVRTC; what else is missing is skipped with a
# reason (status 77 when nothing is left). Results go to $OUT (out/gpu), tables in Markdown are
# printed; docs/benchmarks.md takes them with device, driver and versions. TRICOT_BUILD is a build
# (build-cuda-only, else build), DEVICE a number (0), PYTHON one that has PyTorch (python3). SIZE,
# VARIANTS, BATCH, RUNS, LEAN (memory budgets) and CLIP (arguments) make the work smaller, to try
# this script out.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${OUT:=out/gpu}" "${DEVICE:=0}" "${PYTHON:=python3}" "${RUNS:=30}" "${BATCH:=8}"
: "${SIZE:=256,512,512}" "${VARIANTS:=nano naive tiny}" "${PRECISION:=bf16}" "${CLIP:=}"
# budgets with which a step of batch 8 keeps at most 5, 5 and 9 GB of activations
: "${LEAN:=nano:5050M naive:5150M tiny:9300M}"
if [ -z "${TRICOT_BUILD-}" ]; then
  TRICOT_BUILD=build
  [ ! -x build-cuda-only/tricot ] || TRICOT_BUILD=build-cuda-only
fi
TRICOT_BUILD=$(realpath "$TRICOT_BUILD") TRICOT_SOURCE=$PWD
export TRICOT_BUILD TRICOT_SOURCE
tricot=$TRICOT_BUILD/tricot target=cuda:$DEVICE
small="--variant nano --set volume=[32,64,64] --set text.vocab=1024 --set text.width=64
 --set text.layers=2 --set text.heads=4 --set text.hidden=256 --set text.positions=64
 --set text.length=24 --set batch=3"
mkdir -p "$OUT"

skip() {
  echo "skipped: $*"
  exit 77
}
say() { echo "gpu: $*" >&2; }

# ---- what there is ----
need_device() {
  # shellcheck disable=SC2086
  "$tricot" bench models/clip-dcformer.yaml $small --entry encode_image --mode infer --repeat 1 \
    --target "$target" --json >"$OUT/device.json" 2>"$OUT/device.log" ||
    skip "$(tail -1 "$OUT/device.log")"
}
field() { # field NAME FILE: a number or text of a bench's JSON
  sed -n 's/.*"'"$1"'": "\{0,1\}\([^",}]*\).*/\1/p' "$2" | head -1
}
versions() {
  local driver=unknown nvrtc
  [ ! -r /proc/driver/nvidia/version ] ||
    driver=$(sed -n 's/.*Kernel Module[^0-9]*\([0-9.]*\).*/\1/p' /proc/driver/nvidia/version)
  ! command -v nvidia-smi >/dev/null ||
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)
  nvrtc=$("$tricot" --version | sed -n 's/.*NVRTC \([0-9.]*\).*/\1/p')
  echo
  echo "- $(field device "$OUT/device.json"), driver $driver, NVRTC ${nvrtc:-of unknown version}"
  echo "- tricot $("$tricot" --version | cut -d' ' -f2), commit $(git rev-parse --short HEAD \
    2>/dev/null || echo unknown), $(date -I), \`bench/gpu.sh $part\`"
}

# ---- reference values ----
goldens() {
  local failed=0 script
  for script in "golden.sh $target all" "bf16.sh $target" "heads.sh $target" "attend.sh $target"; do
    # shellcheck disable=SC2086
    if sh tests/cli/$script >"$OUT/${script%%.*}.log" 2>&1; then
      echo "$script: $(tail -1 "$OUT/${script%%.*}.log")"
    elif [ $? -eq 77 ]; then
      echo "$script: $(tail -1 "$OUT/${script%%.*}.log")"
    else
      failed=1
      echo "$script: FAILED"
      grep -A3 FAILED "$OUT/${script%%.*}.log" | head -20
    fi
  done
  versions
  return $failed
}

# ---- rules of memory ----
sanitize() {
  local tool failed=0
  command -v compute-sanitizer >/dev/null || skip "there is no compute-sanitizer"
  for tool in memcheck racecheck initcheck synccheck; do
    for precision in f32 bf16; do
      # shellcheck disable=SC2086
      if compute-sanitizer --tool $tool --error-exitcode 9 "$tricot" bench \
        models/clip-dcformer.yaml $small --entry train_step --precision $precision --repeat 1 \
        --whole --target "$target" >"$OUT/$tool-$precision.log" 2>&1; then
        echo "$tool, $precision: $(grep 'SUMMARY' "$OUT/$tool-$precision.log" | tail -1)"
      else
        failed=1
        echo "$tool, $precision: FAILED"
        tail -5 "$OUT/$tool-$precision.log"
      fi
    done
  done
  versions
  return $failed
}

# ---- how fast ----
timed() { # timed NAME ARGUMENTS...: a whole run's times and each step's, in files
  local name=$1
  shift
  say "$name"
  rm -f "$OUT/$name"*.json
  if "$tricot" bench "$@" --target "$target" --repeat "$RUNS" --whole --json >"$OUT/whole" &&
    "$tricot" bench "$@" --target "$target" --repeat 10 --resident --json >"$OUT/steps"; then
    mv "$OUT/steps" "$OUT/$name-steps.json"
    mv "$OUT/whole" "$OUT/$name.json"
  else
    say "$name failed"
  fi
}
row() { # row NAME BATCH: of the table
  local whole=$OUT/$1.json steps=$OUT/$1-steps.json
  if [ ! -e "$whole" ]; then
    echo "| $1 | failed | | | | | | | | |"
    return
  fi
  awk -v name="$1" -v batch="$2" -v s="$(field seconds_median "$whole")" \
    -v low="$(field seconds_min "$whole")" -v steps="$(field steps_seconds "$steps")" \
    -v floor="$(field floor_seconds "$steps")" -v bytes="$(field bytes "$steps")" \
    -v flops="$(field flops_executed "$steps")" -v count="$(grep -c '"step":' "$steps")" \
    -v memory="$(field memory_copy_bytes_per_second "$steps")" \
    -v working="$(field working_bytes "$steps")" -v kept="$(field input_bytes "$steps")" 'BEGIN {
      printf "| %s | %.3f | %.3f | %.1f | %d | %.3f | %.2f | %.0f %% | %.1f | %.2f |\n", name,
        1e3 * s, 1e3 * low, batch / s, count, 1e3 * steps, steps / floor,
        100 * bytes / s / memory, 1e-12 * flops / s, 1e-9 * (working - kept) }'
}
slowest() { # slowest NAME: its five longest steps
  [ -e "$OUT/$1.json" ] || return 0
  awk 'function value(key,  at) {
         at = index($0, "\"" key "\": ")
         if (!at) return ""
         at = substr($0, at + length(key) + 4)
         sub(/^"/, "", at)
         sub(/[",}].*/, "", at)
         return at
       }
       /"step": / { print value("seconds"), value("step"), value("kernel"), value("share"),
         value("fma_share"), value("bandwidth_share"), value("times_floor") }' \
    "$OUT/$1-steps.json" | sort -gr | awk -v name="$1" 'NR <= 5 {
      printf "| %s | %s %s | %.3f | %.0f %% | %.0f %% | %.0f %% | %.2f |\n", name, $2, $3, 1e3 * $1,
        100 * $4, 100 * $5, 100 * $6, $7 }'
}
own() {
  local variant budget names=()
  for variant in $VARIANTS; do
    model="models/dcformer.yaml --variant $variant --set volume=[$SIZE] --precision $PRECISION"
    # shellcheck disable=SC2086
    timed "$variant-forward" $model --entry encode_image --resident
    # shellcheck disable=SC2086
    timed "$variant-training" $model --set "batch=$BATCH" --entry train_step --resident
    names+=("$variant-forward 1" "$variant-training $BATCH")
    budget=$(tr ' ' '\n' <<<"$LEAN" | sed -n "s/^$variant://p")
    [ -n "$budget" ] || continue
    # shellcheck disable=SC2086
    timed "$variant-training-lean" $model --set "batch=$BATCH" --entry train_step --resident \
      --memory-budget "$budget"
    names+=("$variant-training-lean $BATCH")
  done
  # shellcheck disable=SC2086
  timed clip-nano-training models/clip-dcformer.yaml --variant nano --set "volume=[$SIZE]" \
    --set "batch=$BATCH" --precision "$PRECISION" --entry train_step $CLIP
  names+=("clip-nano-training $BATCH")
  echo "| $PRECISION, [$SIZE] | ms, median | least | volumes/s | launches | ms, steps apart |" \
    "x floor | memory | TFLOP/s | GB activations |"
  echo "|---|---|---|---|---|---|---|---|---|---|"
  for name in "${names[@]}"; do
    # shellcheck disable=SC2086
    row $name
  done
  echo
  echo "| of | step | ms | share | multiply | memory | x floor |"
  echo "|---|---|---|---|---|---|---|"
  for name in "${names[@]}"; do
    slowest "${name% *}"
  done
  echo
  echo "- memory: bytes that must move, against $(field memory_copy_bytes_per_second \
    "$OUT/device.json" | awk '{ printf "%.2f", 1e-12 * $1 }') TB/s of copies; multiply: against" \
    "$(field bf16_flops_per_second "$OUT/device.json" | awk '{ printf "%.0f", 1e-12 * $1 }')" \
    "TFLOP/s on matrix units and $(field fma_flops_per_second "$OUT/device.json" |
      awk '{ printf "%.0f", 1e-12 * $1 }') TFLOP/s f32, all measured in the same run"
  echo "- lean: with --memory-budget, of $LEAN"
  echo "- forward and training with their inputs on the device, CLIP with BERT base and its" \
    "inputs copied for each step; activations without inputs"
  versions
}

# ---- PyTorch ----
peers() {
  "$PYTHON" -c 'import torch' 2>/dev/null || skip "$PYTHON has no PyTorch"
  # shellcheck disable=SC2086
  "$PYTHON" bench/gpu_peer.py --size "$SIZE" --batch "$BATCH" --runs "$RUNS" \
    --device "$DEVICE" --out "$OUT" "$@" $VARIANTS
  versions
}

part=${1-}
case $part in
goldens | sanitize | own | peers)
  shift
  need_device
  "$part" "$@"
  ;;
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
