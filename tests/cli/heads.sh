# heads.sh TARGET: losses on given latents and their gradients against reference values.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/tensors.sh"
target=$1
inputs=$goldens/heads.inputs.safetensors
need "$inputs"

run() { # run MODEL WEIGHTS OUTPUT ARGUMENTS...
  model=$TRICOT_SOURCE/tests/models/$1 weights=$2 out=$scratch/$3
  shift 3
  "$tricot" run "$model" --entry train_step --weights "$weights" --inputs "$inputs" \
    --save-taps --save-grads --target "$target" --outputs "$out" "$@"
}
same() { # same EXPECTED-PREFIX OUTPUT ARGUMENTS...
  prefix=$1 out=$scratch/$2
  shift 2
  compare "$goldens/heads.expected.safetensors" "$out" --expected-prefix "$prefix" "$@"
}

# the reference's scales start where the models' do: ln(1/0.07), ln 10 and -10
add_scalar "$inputs" "$scratch/clip" logit_scale '\121\061\052\100'
add_scalar "$inputs" "$scratch/half" logit_scale '\216\135\023\100'
add_scalar "$scratch/half" "$scratch/sigmoid" logit_bias '\000\000\040\301'

check "contrastive loss, fixed factor" run clip_head.yaml "$inputs" fixed
check "its loss and gradients" same clip_fixed. fixed
check "contrastive loss, learned factor" \
  run clip_head.yaml "$scratch/clip" learned --set temperature=learned
check "its loss and gradients" same clip_learned. learned
check "sigmoid loss" run siglip_head.yaml "$scratch/sigmoid" siglip
check "its loss and gradients" same siglip. siglip
check "probe" run probe_head.yaml "$inputs" probe
check "its outputs" same probe. probe --exclude grad
check "its gradients" same probe.grad. probe --output-prefix grad.probe. --rtol 1e-3
finish
