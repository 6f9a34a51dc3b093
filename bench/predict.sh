#!/bin/bash
# One prediction from a CT file to 18 probabilities: tricot beside the reference, in turns.
#
# usage: bench/predict.sh VOLUME VOCAB XY Z [ROUNDS]      default 3; prints a table in Markdown
# VOLUME is a .nii.gz in HU whose voxels are XY x XY x Z mm. Both sides take the same random weights
# of DCFormer nano at full size (256 x 512 x 512) with BERT base, and the same number of threads; a
# difference of the probabilities ends the run. tricot's time is that of the whole process, start
# included, as a compiled executable; the reference's begins when its weights are loaded.
# PYTHON names the Python that has PyTorch and nibabel (default /usr/bin/python3), THREADS (2).
# More arguments of tricot compile come from PREDICT.
set -euo pipefail
volume=$(realpath "$1") vocab=$(realpath "$2") xy=$3 z=$4 rounds=${5:-3}
cd "$(dirname "$0")/.."
threads=${THREADS:-2} python=${PYTHON:-/usr/bin/python3} tricot=build/tricot out=out/predict
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=1000000000
export OMP_PROC_BIND=true OMP_PLACES=cores
export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE-$(grep -qw avx512f /proc/cpuinfo && echo SKYLAKEX)}
[ -n "$OPENBLAS_CORETYPE" ] || unset OPENBLAS_CORETYPE
"$python" -c 'import torch, nibabel' || { echo "$python lacks PyTorch or nibabel"; exit 1; }
mkdir -p "$out"
reference() { "$python" bench/predict_reference.py "$@" --threads "$threads"; }
ours() { # the process as it is used: without the reference's settings of the allocator
  env -u MALLOC_MMAP_MAX_ -u MALLOC_TRIM_THRESHOLD_ -u MALLOC_TOP_PAD_ "$@"
}

[ -e "$out/weights.safetensors" ] || reference weights "$out/weights.safetensors"
# shellcheck disable=SC2086
ours "$tricot" compile models/clip-dcformer.yaml --variant nano --mode infer --set batch=1 \
  ${PREDICT:-} -o "$out/ctclip"

rm -f "$out"/*.times
for ((round = 1; round <= rounds; round++)); do
  echo "round $round of $rounds" >&2
  ours /usr/bin/time -f '%e %M' -a -o "$out/ours.times" "$out/ctclip" predict "$volume" \
    --weights "$out/weights.safetensors" --vocab "$vocab" --threads "$threads" --json \
    --out "$out/ours.json" 2>"$out/ours.log" || { cat "$out/ours.log"; exit 1; }
  sed -n 's/.*"start_seconds": \([0-9.]*\).*/\1/p' "$out/ours.json" >>"$out/start.times"
  for part in read resample encode; do
    sed -n "s/.*\"$part\": \([0-9.]*\).*/\1/p" "$out/ours.json" >>"$out/$part.times"
  done
  reference predict "$volume" --weights "$out/weights.safetensors" --vocab "$vocab" \
    --spacing "$xy" "$z" --out "$out/reference.json"
  for part in read resample image text all; do
    sed -n "s/.*\"$part\": \([0-9.]*\).*/\1/p" "$out/reference.json" >>"$out/reference-$part.times"
  done
  "$python" bench/predict_reference.py compare "$out/ours.json" "$out/reference.json" >&2
done

middle() { # middle FILE [COLUMN]
  awk -v c="${2:-1}" '{print $c}' "$out/$1.times" | sort -g |
    awk '{at[NR] = $1} END {print (at[int((NR + 1) / 2)] + at[int(NR / 2) + 1]) / 2}'
}
row() { printf '| %s | %.2f | %s |\n' "$1" "$2" "$3"; }
seconds() { printf '%.2f' "$(middle "$1")"; }
cat <<END

| part, seconds (medians of $rounds rounds) | tricot | reference |
|---|---|---|
$(row 'start, weights, prompts (reference: 36 texts, weights not counted)' "$(middle start)" \
  "$(seconds reference-text)")
$(row read "$(middle read)" "$(seconds reference-read)")
$(row 'resample, window, crop' "$(middle resample)" "$(seconds reference-resample)")
$(row 'encode (reference: 18 times)' "$(middle encode)" "$(seconds reference-image)")
$(row all "$(middle ours)" "$(seconds reference-all)")

$(awk -v a="$(middle ours)" -v b="$(middle reference-all)" -v m="$(middle ours 2)" 'BEGIN {
  printf "Reference / tricot: %.1f. Peak memory of tricot: %.0f MiB.\n", b / a, m / 1024}')

- tricot $("$tricot" --version | cut -d' ' -f2), commit $(git rev-parse --short HEAD)
- $("$python" -c 'import torch, nibabel
print(f"PyTorch {torch.__version__}, nibabel {nibabel.__version__}")'), allocator tuned, pinned
- $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $threads threads, $(date -I)
END
