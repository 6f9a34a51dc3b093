# tf32.sh TARGET: --precision tf32 on a target with matrix units: a CLIP model in evaluation and a
# training step against reference values, to what 11 bits of factors allow; what the option says and
# refuses; that real code is made of it where there is an NVRTC.
. "$(dirname "$0")/common.sh"
target=$1
need "$nano_expected"
expect 1 "the processor" "$tricot" info "$clip" $nano --precision tf32 --target cpu
grep -q 'no LLVM' "$scratch/err" ||
  says '--precision tf32: error: the target cpu has no matrix units (cuda, cuda-shim)'
expect 0 "info" "$tricot" info "$clip" $nano --precision tf32 --target cuda-shim
check "info says it" grep -q '^precision  *tf32$' "$scratch/out"
check "forward" run_nano forward --entry forward --precision tf32
check "evaluation: outputs and taps" compare "$nano_expected" "$scratch/forward" \
  --expected-prefix eval. --rtol 2e-3
expect 1 "not to the digits of f32" compare "$nano_expected" "$scratch/forward" \
  --expected-prefix eval. --rtol 2e-5
check "step" run_nano step --entry train_step --steps 2 --save-grads --precision tf32 \
  --set image.statistics='"running"'
check "step in f32" run_nano step32 --entry train_step --steps 2 --save-grads \
  --set image.statistics='"running"'
check "losses" compare "$scratch/step32" "$scratch/step" --rtol 2e-3 --exclude 'grad\.'
check "gradients without pools behind them" compare "$scratch/step32" "$scratch/step" --rtol 2e-2 \
  --exclude "loss|visual_transformer|$zero_gradient"
if "$tricot" inspect "$models/dcformer.yaml" --set volume=[64,128,128] --set batch=2 --json \
  --precision tf32 --entry train_step --target cuda:sm_80,sm_90a >"$scratch/out" 2>"$scratch/err"; then
  check "no hot kernel keeps registers in memory" sh -c '! grep "\"hot\": true" "$1" |
    grep "\"spill_bytes\": [1-9]"' - "$scratch/out"
else
  echo "real code is left out: $(cat "$scratch/err")"
fi
finish
