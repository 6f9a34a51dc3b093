# Code for CUDA architectures, by the real NVRTC: every kernel of the models compiles for sm_80 and
# sm_90a, evaluation and training, f32 and bf16, and no hot kernel keeps registers in memory; what
# `inspect --target cuda:…` says. With the argument `all` at full sizes.
. "$(dirname "$0")/common.sh"
cd "$scratch" || exit 1
archs=cuda:sm_80,sm_90a
small="--set volume=[64,128,128] --set batch=2"
"$tricot" compile "$models/dcformer.yaml" --mode infer --set volume=[64,128,128] --emit cubin \
  -o probe 2>err || {
  grep -q NVRTC err && skip "$(cat err)"
  fail "a cubin: $(cat err)"
}

# ---- what it says ----
expect 0 "a table" "$tricot" inspect "$models/dcformer.yaml" $small --target $archs
check "both architectures" grep -q 'sm_80 .*sm_90a .*place, ops' out
check "places" grep -q 'models/dcformer.yaml:[0-9]*, ' out
expect 0 "JSON" "$tricot" inspect "$models/dcformer.yaml" $small --target $archs --json
cp out left
check "it is JSON" compare_json left left
expect 2 "an entry point of nothing drawn" "$tricot" inspect "$models/dcformer.yaml" --entry forward
says '--target cuda:ARCH'
expect 1 "two kinds of target" "$tricot" inspect "$models/dcformer.yaml" $small \
  --target cuda:sm_80,cpu
says 'architectures as in cuda:sm_80,sm_90a'
expect 1 "an architecture that there is not" "$tricot" inspect "$models/dcformer.yaml" $small \
  --target cuda:sm_11
says 'for sm_11'

# ---- matrix units ----
expect 0 "a training step in text" "$tricot" compile "$models/dcformer.yaml" --variant nano \
  --precision bf16 --set volume=[64,128,128] --batch 2 --skip join --emit kernel --target cuda:sm_80 \
  -o text
on_units() { # on_units NAME: how many kernels of that name multiply on matrix units
  awk -v name="_$1(" '/^loop kernel/ { on = index($0, name) }
    on && /mma_bf16/ { units++; on = 0 } END { print units + 0 }' text
}
check "products of rows" [ "$(on_units matmul)" -ge 20 ]
check "convolutions" [ "$(on_units tap_conv)" -ge 10 ]
check "gradients of weights" [ "$(on_units tap_conv_grad_weight)" -ge 4 ]

# ---- every kernel ----
compiles() { # compiles LABEL MODEL ARGUMENTS...
  label=$1 model=$2
  shift 2
  expect 0 "$label" "$tricot" inspect "$model" --target $archs --json "$@"
  check "$label: many kernels" [ "$(grep -c '"kernel":' out)" -gt 10 ]
  if grep '"hot": true' out | grep '"spill_bytes": [1-9]'; then
    fail "$label: a hot kernel keeps registers in memory"
  fi
}
if [ "${1-}" = all ]; then
  for precision in f32 tf32 bf16; do
    for variant in nano naive tiny; do
      full="--variant $variant --set volume=[256,512,512] --precision $precision"
      compiles "$variant, $precision" "$models/dcformer.yaml" $full
      compiles "$variant, training, $precision" "$models/dcformer.yaml" $full --set batch=8 \
        --entry train_step
    done
    compiles "BERT, $precision" "$models/bert.yaml" --precision $precision --entry encode_text
    compiles "CLIP, training, $precision" "$clip" --variant nano --precision $precision \
      --set volume=[256,512,512] --set batch=8 --entry train_step
  done
else
  compiles "nano, bf16" "$models/dcformer.yaml" $small --precision bf16
  compiles "CLIP, training, bf16" "$clip" $nano --set batch=3 --precision bf16 --entry train_step
fi
finish
