#!/bin/bash
# Does tricot learn as PyTorch does? The demo's model on one fixed set of made-up volumes, trained
# in both from the same weights, on the same batches in the same order, then scored zero-shot.
#
# usage: bench/learning.sh [STEPS]   default 800; prints tables in Markdown, status 1: too far apart
# PYTHON names the Python that has PyTorch (default /usr/bin/python3), THREADS the threads (2), OUT
# the folder for everything (out/learning). Data and results of tricot in it are used again.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-800} threads=${THREADS:-2} python=${PYTHON:-/usr/bin/python3} out=${OUT:-out/learning}
tricot=build/tricot run=models/runs/learning.yaml batch=48 seed=1
data=$out/data cache=$out/cache
# memory stays with the process, without which PyTorch spends its time on page faults
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=1000000000
# and threads that wait let others work, on a machine that is shared
export OMP_WAIT_POLICY=passive
"$python" -c 'import torch' || { echo "learning: $python has no PyTorch (python3-torch)"; exit 1; }
mkdir -p "$out"

[ -f "$data/vocab.txt" ] ||
  "$tricot" synth --output "$data" --train 2000 --valid 200 --size 56x88x88 --seed 2026
"$tricot" prepare "$run" --dataset "$data" --cache "$cache" 2>/dev/null

echo "learning: volumes and tokens for PyTorch" >&2
for split in train valid; do
  longer=$split
  [ $split = train ] || longer=validation
  mkdir -p "$out/volumes/$split"
  for volume in "$data/dataset/$split"/*/*/*.nii.gz; do
    name=$(basename "$volume")
    [ -f "$out/volumes/$split/$name.safetensors" ] ||
      "$tricot" prepare "$run" --volume "$volume" \
        --metadata "$data/metadata/${longer}_metadata.csv" \
        --output "$out/volumes/$split/$name.safetensors"
  done
done
"$python" bench/learning.py texts "$out" train >"$out/train.txt"
"$tricot" tokenize --vocab "$data/vocab.txt" --file "$out/train.txt" --special >"$out/train.ids"
head -1 "$data/multi_abnormality_labels/valid_predicted_labels.csv" | tr ',' '\n' | sed 1d |
  sed 's/\(.*\)/\1 is present.\n\1 is not present./' >"$out/prompts.txt"
"$tricot" tokenize --vocab "$data/vocab.txt" --file "$out/prompts.txt" --special >"$out/prompts.ids"

ours=(--cache "$cache" --vocab "$data/vocab.txt" --threads "$threads")
train=("$tricot" train "$run" "${ours[@]}" --batch $batch --seed $seed)
if [ ! -f "$out/tricot/zeroshot.json" ] || [ "$(cat "$out/steps" 2>/dev/null)" != "$steps" ]; then
  "${train[@]}" --steps 0 --out "$out/start"
  cp "$out/start/model.safetensors" "$out/start.safetensors"
  "${train[@]}" --steps "$steps" --out "$out/tricot"
  "$tricot" eval zeroshot "$run" "${ours[@]}" --weights "$out/tricot/model.safetensors" \
    --out "$out/tricot" >/dev/null
  echo "$steps" >"$out/steps"
fi
"$python" bench/learning.py train "$out" --batch $batch --steps "$steps" --seed $seed \
  --threads "$threads"
"$python" bench/learning.py compare "$out"
