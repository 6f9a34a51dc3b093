#!/bin/bash
# The main job from end to end: compile a model, train it, evaluate it, predict.
#
# usage: tests/demo.sh TRICOT OUT DATA VOCAB STEPS     DATA, VOCAB, STEPS: "" to make or choose them
# TRICOT is the command, OUT a folder for everything this writes. Without DATA the volumes are made
# up, and a full training must reach a macro AUROC of 0.70 on patients it has not seen: status 1
# where it does not. ./setup.sh demo calls this, and the tests do with few steps.
set -euo pipefail
tricot=$(realpath "$1") out=$2 data=$3 vocab=$4 steps=$5
source=$(cd "$(dirname "$0")/.." && pwd)
full=1600 goal=0.70 # steps of a full training on made-up volumes, what it reaches at least

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
if [ -z "$data" ]; then
  data=$out/phantoms model=$source/models/runs/demo.yaml steps=${steps:-$full}
  patients=(--train 5000 --valid 200)
  [ "$steps" -ge 100 ] || patients=(--train 64 --valid 8)
  echo "no data set given: making up one"
  run "$tricot" synth --output "$data" "${patients[@]}" --size 48x72x72 --seed 1
  vocab=${vocab:-$data/vocab.txt}
  compiling=()
  [ "$steps" -ge 100 ] || compiling=(--batch 8)
else
  model=$source/models/clip-mini.yaml steps=${steps:-40} full=
  compiling=(--variant nano)
  if [ -z "$vocab" ] && [ -f "$data/vocab.txt" ]; then
    vocab=$data/vocab.txt
  elif [ -z "$vocab" ]; then
    echo "no vocabulary given: taking the small one of made-up reports, most words become letters"
    run "$tricot" synth --output "$out/words" --train 100 --valid 1 --size 8x8x8
    vocab=$out/words/vocab.txt
  fi
fi
run "$tricot" prepare "$model" --dataset "$data" --cache "$out/cache" \
  2>"$out/prepare.log" || { tail -3 "$out/prepare.log" && exit 1; }
tail -1 "$out/prepare.log"

say "2. compile ${model#"$source/"}: DCFormer (nano), small text encoder"
volumes=$(find "$out/cache/train" -name '*.tvol' | wc -l)
[ -n "$full" ] || [ "$volumes" -ge 4 ] || compiling+=(--set batch=2)
run "$tricot" compile "$model" "${compiling[@]}" -o "$out/ctclip"
ls -l "$out/ctclip"

say "3. train: the executable needs nothing else from here on"
training=(--warmup 10 --seed 1)
[ -z "$full" ] || training=(--lr 1e-3 --warmup 60 --schedule cosine --lr-end 2e-4 --seed 1)
run "$out/ctclip" train --cache "$out/cache" --vocab "$vocab" --loss.negatives micro \
  --out "$out/training" \
  --steps "$steps" "${training[@]}"
echo "loss, first and last steps (all in $out/training/log.csv):"
sed -n '1,3p' "$out/training/log.csv"
tail -2 "$out/training/log.csv"

say "4. evaluate on the volumes of the split valid"
run "$out/ctclip" eval zeroshot --weights "$out/training/model.safetensors" --cache "$out/cache" \
  --vocab "$vocab" --out "$out/evaluation"

say "5. predict one volume"
mapfile -t volumes < <(find -L "$data/dataset/valid" -name '*.nii.gz' | sort)
run "$out/ctclip" predict --weights "$out/training/model.safetensors" --vocab "$vocab" \
  --out "$out/prediction.txt" "${volumes[0]}"
cat "$out/prediction.txt"

say "results: $out/training/log.csv, $out/evaluation/zeroshot.csv, $out/prediction.txt"
auroc=$(sed -n 's/.*"auroc_macro": *\([0-9.]*\).*/\1/p' "$out/evaluation/zeroshot.json")
echo "zero-shot macro AUROC after $steps steps, on volumes not trained on: ${auroc:-not defined}"
if [ -n "$full" ] && [ "$steps" -ge "$full" ]; then
  awk -v got="${auroc:-0}" -v goal=$goal 'BEGIN {exit got < goal}' ||
    { echo "demo: a full training should reach $goal" && exit 1; }
fi
