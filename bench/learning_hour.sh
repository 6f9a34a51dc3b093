#!/bin/bash
# An hour of training on made-up volumes (models/runs/synth-hour.yaml), then the curve: loss and
# zero-shot AUROC on held-out patients after every thousand steps, and the findings at the end.
#
# usage: bench/learning_hour.sh [--resume]     prints tables in Markdown
# THREADS: threads (2), OUT: the folder for everything (out/learning_hour). Some 20 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
threads=${THREADS:-2} out=${OUT:-out/learning_hour}
tricot=build/tricot run=models/runs/synth-hour.yaml
data=$out/data cache=$out/cache
resume=()
[ "${1-}" != --resume ] || resume=(--resume last)
mkdir -p "$out"

[ -f "$data/vocab.txt" ] ||
  "$tricot" synth --output "$data" --train 15000 --valid 300 --size 52x88x88 --seed 60
"$tricot" prepare "$run" --dataset "$data" --cache "$cache" \
  2>"$out/prepare.log" || { tail -3 "$out/prepare.log" && exit 1; }
ours=(--cache "$cache" --vocab "$data/vocab.txt" --threads "$threads")
start=$SECONDS
"$tricot" train "$run" "${ours[@]}" --out "$out/training" --keep 0 "${resume[@]}"
seconds=$((SECONDS - start))

macro() { sed -n 's/.*"auroc_macro": *\([0-9.]*\).*/\1/p' "$1"; }
echo "| steps | mean loss of the last 1000 | macro AUROC, held out |"
echo "|---|---|---|"
for checkpoint in "$out"/training/checkpoint-*000.safetensors; do
  step=$(basename "$checkpoint" .safetensors) step=$((10#${step#checkpoint-}))
  "$tricot" eval zeroshot "$run" "${ours[@]}" --checkpoint "$checkpoint" \
    --out "$out/evaluation-$step" >"$out/table-$step.txt" 2>&1
  loss=$(awk -F, -v last="$step" 'NR > 1 && $1 <= last && $1 > last - 1000 {sum += $3; n++}
    END {printf "%.3f", sum / n}' "$out/training/log.csv")
  printf '| %d | %s | %.3f |\n' "$step" "$loss" "$(macro "$out/evaluation-$step/zeroshot.json")"
done
scores=()
for file in "$out"/evaluation-*/zeroshot.json; do
  step=$(basename "$(dirname "$file")") && scores+=("${step#evaluation-}:$(macro "$file")")
done
if command -v python3 >/dev/null; then
  mapfile -t scores < <(printf '%s\n' "${scores[@]}" | sort -n)
  python3 bench/curve.py "$out/training/log.csv" "${scores[@]}" >"$out/curve.svg"
fi
printf '\nThe findings at the end (training took %d s in this run):\n\n' "$seconds"
grep -v ' 0         -' "$out/table-$step.txt" | grep -E '^[A-Z]'
