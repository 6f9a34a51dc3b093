#!/bin/bash
# The main job from end to end: compile a model, train it, evaluate it, predict.
#
# usage: tests/demo.sh TRICOT OUT DATA VOCAB STEPS     DATA, VOCAB: "" to choose or make them
# TRICOT is the command, OUT a folder for everything this writes. ./setup.sh demo calls it, and the
# tests do with few steps.
set -euo pipefail
tricot=$(realpath "$1") out=$2 data=$3 vocab=$4 steps=$5
source=$(cd "$(dirname "$0")/.." && pwd)
shared=${TRICOT_SHARED:-$source/../shared}

say() { printf '\n== %s\n' "$*"; }
run() { # shows a command, then runs it
  printf '$ '
  printf '%q ' "$@"
  printf '\n'
  "$@"
}

mkdir -p "$out"
printf 'For research use only. Not for diagnosis. Everything goes to %s/\n' "$out"

say "1. data"
if [ -z "$data" ] && [ -d "$shared/data/ctrate-mini" ]; then
  data=$shared/data/ctrate-mini
elif [ -z "$data" ]; then
  echo "no data set given: making up a small one"
  data=$out/phantoms
  run "$tricot" synth --output "$data" --train 24 --valid 8
fi
if [ -z "$vocab" ]; then
  for vocab in "$data/vocab.txt" "$shared/data/tokenizer/bert-base-uncased_vocab.txt" ""; do
    [ -f "$vocab" ] && break
  done
fi
if [ -z "$vocab" ]; then
  echo "no vocabulary given: taking the tiny one of made-up reports, most words become letters"
  run "$tricot" synth --output "$out/words" --train 8 --valid 1 --size 8x8x8
  vocab=$out/words/vocab.txt
fi
run "$tricot" prepare --dataset "$data" --cache "$out/cache" --size 64x128x128 --spacing 5:2.7

say "2. compile models/clip-mini.yaml: DCFormer (nano), small text encoder, 64x128x128 voxels"
batch=4
[ "$(find "$out/cache/train" -name '*.tvol' | wc -l)" -ge 4 ] || batch=2
run "$tricot" compile "$source/models/clip-mini.yaml" --variant nano --set "batch=$batch" \
  -o "$out/ctclip"
ls -l "$out/ctclip"

say "3. train: the executable needs nothing else from here on"
run "$out/ctclip" train --cache "$out/cache" --vocab "$vocab" --out "$out/training" \
  --steps "$steps" --warmup 10 --seed 1
echo "loss, first and last steps (all in $out/training/log.csv):"
sed -n '1,3p' "$out/training/log.csv"
tail -2 "$out/training/log.csv"

say "4. evaluate on the volumes of the split valid"
run "$out/ctclip" eval zeroshot --weights "$out/training/model.safetensors" --cache "$out/cache" \
  --vocab "$vocab" --out "$out/evaluation"

say "5. predict one volume"
mapfile -t volumes < <(find -L "$data/dataset/valid" -name '*.nii.gz' | sort)
run "$out/ctclip" predict --weights "$out/training/model.safetensors" --vocab "$vocab" \
  --spacing 5:2.7 --out "$out/prediction.txt" "${volumes[0]}"
cat "$out/prediction.txt"

say "results: $out/training/log.csv, $out/evaluation/zeroshot.csv, $out/prediction.txt"
