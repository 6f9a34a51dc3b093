# bf16.sh TARGET: --precision bf16 on one target: a CLIP model in evaluation against reference values,
# a training step against the same in f32, and what the option says and refuses. The bounds and where
# they come from are in docs/testing.md. With the target cpu also threads, levels and an executable.
. "$(dirname "$0")/common.sh"
target=$1
need "$nano_expected"
settings="$nano --set batch=3 --set optimizer.lr=1e-3"

forward() { # forward LABEL OUTPUT: as the reference, to what bf16 allows
  check "$1" compare "$nano_expected" "$scratch/$2" --expected-prefix eval. --rtol 2e-2
}
step() { # step OUTPUT ARGUMENTS...: frozen norms, so that three samples make no statistics
  run_nano "$@" --entry train_step --steps 2 --save-grads --set image.statistics='"running"'
}

expect 2 "an unknown precision" run_nano unknown --entry forward --precision bf61
says '--precision: "bf61" is none of f32|tf32|bf16'
check "forward" run_nano forward --entry forward --precision bf16
forward "evaluation: outputs and taps" forward
check "step in f32" step step32
check "step in bf16" step step16 --precision bf16
check "losses" compare "$scratch/step32" "$scratch/step16" --rtol 2e-2 --exclude 'grad\.'
check "gradients without pools behind them" compare "$scratch/step32" "$scratch/step16" \
  --rtol 1e-1 --exclude "loss|visual_transformer|$zero_gradient"
checks=$((checks + 1))
compare "$scratch/step32" "$scratch/step16" >"$scratch/out" && fail "bf16 gives what f32 gives"

if [ "$target" = cpu ]; then
  expect 0 "info" "$tricot" info "$clip" $settings --precision bf16
  check "info says it" grep -q '^precision  *bf16$' "$scratch/out"
  printf 'run: small\nmodel: %s\nprecision: bf16\n' "$clip" >"$scratch/run.yaml"
  expect 0 "a run file" "$tricot" info "$scratch/run.yaml" $settings
  check "a run file says it" grep -q '^precision  *bf16$' "$scratch/out"
  for threads in 1 3; do
    check "threads: $threads" run_nano "threads$threads" --entry train_step --precision bf16 --steps 2 \
      --save-grads --save-params --threads $threads
  done
  check "the same bits" cmp "$scratch/threads1" "$scratch/threads3"
  [ "$(uname -m)" = x86_64 ] || finish
  target=cpu:x86-64-v3
  check "AVX2" run_nano avx2 --entry forward --precision bf16
  forward "AVX2: outputs and taps" avx2
  expect 0 "compile" "$tricot" compile "$clip" $settings --precision bf16 --mode infer \
    -o "$scratch/exe"
  expect 0 "info of the executable" "$scratch/exe" info
  check "it says so" grep -q '^precision  *bf16$' "$scratch/out"
  check "executable" "$scratch/exe" run --entry forward $nano_files --outputs "$scratch/exe.out"
  forward "executable: outputs and taps" exe.out
fi
finish
