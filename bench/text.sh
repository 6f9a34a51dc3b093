#!/bin/bash
# BERT base over reports in batches: padded to 512 tokens, bucketed, packed (docs/text.md).
#
# usage: bench/text.sh VOCABULARY REPORTS [BATCH] [SHAPES]     default 8 4; prints Markdown
# `tricot tokenize --plan` chooses the shapes for the reports in the order of the file; every shape
# is timed with `tricot bench` (the fastest of REPEAT runs, default 3) and weighted by its batches.
set -euo pipefail
cd "$(dirname "$0")/.."
vocabulary=$1 reports=$2 batch=${3:-8} shapes=${4:-4}
tricot=build/tricot threads=${THREADS:-2} repeat=${REPEAT:-3}
plan=$("$tricot" tokenize --vocab "$vocabulary" --corpus "$reports" --length 512 --plan "$batch" \
  --shapes "$shapes")
batches=$(sed -n 's/.*"batches": \([0-9]*\), "tokens".*/\1/p' <<<"$plan")
tokens=$(sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' <<<"$plan")

seconds() { # seconds ROWS LENGTH: of one batch; rows 0: padded
  "$tricot" bench models/bert.yaml --entry encode_text --set "batch=$batch" --set "rows=$1" \
    --set "length=$2" --threads "$threads" --repeat "$repeat" --json |
    sed -n 's/.*"seconds_min": \([0-9.e+-]*\).*/\1/p'
}
form() { # form NAME: "rows length batches" lines of its shapes
  grep "\"$1\"" <<<"$plan" | grep -o '"rows": [0-9]*, "length": [0-9]*, "batches": [0-9]*' |
    tr -dc '0-9 \n'
}
total=0
weigh() { # weigh NAME ROWS-AS: lines of form on stdin
  local sum=0 cells=0 list=""
  while read -r rows length count; do
    local time
    time=$(seconds "$([ "$2" = rows ] && echo "$rows" || echo 0)" "$length")
    echo "$1 $rows x $length: $time s, $count batches" >&2
    sum=$(awk -v a="$sum" -v t="$time" -v n="$count" 'BEGIN {print a + t * n}')
    cells=$((cells + rows * length * count))
    list="$list${list:+, }$rows×$length"
  done
  [ "$total" != 0 ] || total=$sum
  awk -v name="$1" -v list="$list" -v s="$sum" -v n="$batches" -v c="$cells" -v t="$tokens" \
    -v all="$total" 'BEGIN {printf "| %s | %s | %.1f | %.2f | %.2f |\n", name, list,
      100 * t / c, s / n, all / s}'
}
echo "| form | shapes | cells that are tokens, % | s for a batch of $batch | padded / form |"
echo "|---|---|---|---|---|"
weigh padded 0 <<<"$batch 512 $batches"
weigh bucketed 0 < <(form bucketed)
weigh packed rows < <(form packed)
echo
echo "$batches batches, $((tokens / batches / batch)) tokens a report"
