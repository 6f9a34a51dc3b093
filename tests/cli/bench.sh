# bench: the table's rows and totals, the same numbers as JSON, the timeline; of the command and of
# an executable. Times are never compared, only what must hold among numbers of one run.
. "$(dirname "$0")/common.sh"

model="$models/dcformer.yaml --variant nano --set volume=[32,64,64]"
run="--entry encode_image --repeat 3 --threads 2"
numbers() { # numbers KEY <JSON: the values of a key, in order, a line each
  grep -o "\"$1\": [^,}]*" | sed 's/.*: //'
}

expect 0 "a table" "$tricot" bench $model $run
check "its header names the peaks" grep -qE '^machine: 2 threads, [a-z0-9]+: [0-9.]+ GFLOP/s f32 fma' \
  "$scratch/out"
check "a row of the first stem layer" grep -qE '^ +0 .*tap_conv.* .*dcformer.yaml:[0-9]+$' \
  "$scratch/out"
check "the total" grep -qE 'time = [0-9.]+ x floor$' "$scratch/out"
rows=$(grep -cE '^ +[0-9]+ ' "$scratch/out")

expect 0 "JSON" "$tricot" bench $model $run --json --trace "$scratch/trace.json"
cp "$scratch/out" "$scratch/bench.json"
cat >"$scratch/keys.json" <<'END'
{"entry": "encode_image", "model": "dcformer", "variant": "nano", "threads": 2, "repeat": 3,
 "machine": {"threads": 2}}
END
check "it says what was run" compare_json "$scratch/keys.json" "$scratch/bench.json"
check "a row a step" [ "$(numbers step <"$scratch/bench.json" | wc -l)" -eq "$rows" ]
for key in kernel label place seconds flops_executed bytes fma_share bandwidth_share floor_seconds \
  bound times_floor; do
  check "every step has $key" [ "$(numbers $key <"$scratch/bench.json" | wc -l)" -ge "$rows" ]
done
# the whole's number stands in front of those of its steps
check "the parts add up" sh -c 'grep -o "\"flops_executed\": [0-9]*" "$1" |
  awk "NR == 1 {whole = \$2} NR > 1 {sum += \$2} END {exit whole != sum}"' - "$scratch/bench.json"
check "the timeline is JSON" compare_json "$scratch/trace.json" "$scratch/trace.json"
check "with both threads" grep -q '"name": "thread 1"' "$scratch/trace.json"
check "and three runs of every step" [ "$(grep -c '"cat": "kernel"' "$scratch/trace.json")" -eq \
  $((3 * rows)) ]

expect 0 "whole runs" "$tricot" bench $model $run --whole
check "one line" [ "$(wc -l <"$scratch/out")" -eq 1 ]
expect 1 "a timeline that cannot be written" "$tricot" bench $model $run --whole \
  --trace "$scratch/no/such/folder"
says 'no/such/folder'
expect 2 "both at once" "$tricot" bench $model $run --whole --profile

case $(uname -m) in
x86_64) level=x86-64-v3 ;;
aarch64) level=aarch64 ;;
*) finish ;;
esac
expect 0 "an executable" "$tricot" compile $model --mode infer --target cpu:$level \
  -o "$scratch/exe"
if grep -qE 'avx2|asimd' /proc/cpuinfo; then
  expect 0 "its bench" "$scratch/exe" bench $run --json
  check "has the same steps" [ "$(numbers step <"$scratch/out" | wc -l)" -eq "$rows" ]
  check "and operations" [ "$(numbers flops_executed <"$scratch/out" | head -n 1)" -gt 0 ]
fi
finish
