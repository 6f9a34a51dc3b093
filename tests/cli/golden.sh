# golden.sh TARGET [all]: a whole CLIP model on one target against reference values.
# Without `all` one evaluation and three training steps; with it also one step apart, and the
# running statistics of a single training forward.
. "$(dirname "$0")/common.sh"
target=$1 all=${2:-}
need "$nano_expected"

same() { # same EXPECTED-PREFIX OUTPUT ARGUMENTS...
  expected_prefix=$1 out=$scratch/$2
  shift 2
  compare "$nano_expected" "$out" --expected-prefix "$expected_prefix" "$@"
}

check "forward" run_nano forward --entry forward
check "evaluation: outputs and taps" same eval. forward

check "three steps" run_nano three --entry train_step --steps 3 --save-taps --save-grads --save-params
check "losses" same train. three --exclude '\.step0\.|step[12]\.[^l]' --rtol 1e-3
check "first loss" same train.step0.loss three --output-prefix step0.loss
check "training: outputs and taps" same train.step0. three --exclude 'grad\.|param\.'
check "gradients" same train.step0.grad. three --output-prefix grad. --rtol 1e-3
check "parameters after three steps" same train.step2.param. three --output-prefix param. \
  --rtol 2e-2 --exclude "$zero_gradient|running_"
check "running statistics after three steps" same train.step2.param. three --output-prefix param. \
  --rtol 2e-2 --exclude '(weight|bias|gamma)$'

if [ "$all" = all ]; then
  check "one step" run_nano one --entry train_step --steps 1 --save-params
  check "parameters after one step" same train.step0.param. one --output-prefix param. \
    --rtol 1e-3 --exclude "$zero_gradient|running_"
  check "running statistics after one step" same train.step0.param. one --output-prefix param. \
    --exclude '(weight|bias|gamma)$'
  check "training forward" run_nano buffers --entry forward --mode train --save-buffers
  check "its outputs and taps" same train.step0. buffers --exclude 'grad\.|param\.'
  check "running statistics after it" same train.step0.param. buffers --output-prefix buffer. \
    --exclude '(weight|bias|gamma)$'
fi
finish
