#!/bin/bash
# tricot and PyTorch on the same work, in turns, on an otherwise idle machine.
#
# usage: bench/run.sh [ROUNDS]        default 3; prints a table in Markdown
# First the two are compared on the same weights and inputs; a difference ends the run. Then every
# round times each job in both, one after the other, with the same number of threads. The table has
# the median over the rounds of the medians within a round, and the ratio of the two.
# PYTHON names the Python that has PyTorch (default /usr/bin/python3), THREADS the threads (2).
# PyTorch multiplies matrices with the BLAS it finds: install libopenblas0-openmp, or point
# LD_LIBRARY_PATH at one.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3} threads=${THREADS:-2} python=${PYTHON:-/usr/bin/python3} tricot=build/tricot
out=out/bench
export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE-$(grep -qw avx512f /proc/cpuinfo && echo SKYLAKEX)}
[ -n "$OPENBLAS_CORETYPE" ] || unset OPENBLAS_CORETYPE
"$python" -c 'import torch' || { echo "bench: $python has no PyTorch (python3-torch)"; exit 1; }
mkdir -p "$out"

model=(models/dcformer.yaml --variant nano --threads "$threads")
small='volume=[48,64,80]' large='volume=[128,256,256]'

echo "comparing results ($small)" >&2
"$python" bench/peers.py export "$out" --volume 48,64,80
given=(--weights "$out/weights.safetensors" --inputs "$out/inputs.safetensors")
"$tricot" run "${model[@]}" --set "$small" --entry encode_image "${given[@]}" \
  --outputs "$out/pooled.safetensors"
"$tricot" run "${model[@]}" --set "$small" --set batch=2 --entry train_step --lr 1e-3 \
  "${given[@]}" --save-grads --save-params --outputs "$out/step.safetensors"
"$tricot" run "${model[@]}" --set "$small" --set batch=2 --entry train_step --lr 1e-3 \
  "${given[@]}" --steps 3 --outputs "$out/losses.safetensors"
"$python" bench/peers.py compare "$out" >&2

seconds() { sed -n 's/.*"seconds_median": \([0-9.e+-]*\).*/\1/p'; }
ours() { # ours ENTRY BATCH
  "$tricot" bench "${model[@]}" --set "$large" --set "batch=$2" --entry "$1" --repeat 7 --json |
    seconds
}
theirs() { # theirs WHAT BATCH
  "$python" bench/peers.py "$1" --batch "$2" --repeat 7 --threads "$threads" | seconds
}
middle() {
  sort -g | awk '{at[NR] = $1} END {print (at[int((NR + 1) / 2)] + at[int(NR / 2) + 1]) / 2}'
}

rm -f "$out"/*.times
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds" >&2
  ours encode_image 1 >>"$out/infer.times"
  theirs optimized 1 >>"$out/optimized.times"
  theirs forward 1 >>"$out/forward.times"
  ours train_step 2 >>"$out/train.times"
  theirs train 2 >>"$out/torch-train.times"
done

at() { middle <"$out/$1.times"; }
row() { # row TEXT OURS THEIRS
  awk -v text="$1" -v a="$(at "$2")" -v b="$(at "$3")" \
    'BEGIN {printf "| %s | %.1f | %.1f | %.2f |\n", text, 1e3 * a, 1e3 * b, b / a}'
}
compile_seconds=$({
  TIMEFORMAT=%R
  time "$tricot" compile models/dcformer.yaml --variant nano --set "$large" --set batch=2 \
    --emit object --target cpu -o "$out/step.o"
} 2>&1 | tail -1)

cat <<END

DCFormer nano, volume 128 x 256 x 256, f32, $threads threads; milliseconds,
medians of $rounds rounds.

| job | tricot | PyTorch | PyTorch / tricot |
|---|---|---|---|
$(row 'forward, batch 1; PyTorch traced, frozen, optimised for inference' infer optimized)
$(row 'forward, batch 1; PyTorch module by module' infer forward)
$(row 'training step with AdamW, batch 2' train torch-train)

All kernels of the encoder, training step included, to an object file: $compile_seconds s.

- tricot $("$tricot" --version | cut -d' ' -f2), commit $(git rev-parse --short HEAD), \
LLVM $(llvm-config-19 --version 2>/dev/null || echo 19)
- PyTorch $("$python" bench/peers.py version)
- $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) cores seen, \
$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo | awk '{printf "%.0f", $1 / 1048576}') \
GiB, Linux $(uname -r | cut -d- -f1), $(date -I)
END
