# budget.sh TARGET: training within a memory budget gives the bits it gives without, in less memory;
# and the error when nothing fits.
. "$(dirname "$0")/common.sh"
target=$1
need "$nano_expected"

steps() { # steps OUTPUT ARGUMENTS...
  name=$1
  shift
  run_nano "$name" --entry train_step --steps 3 --save-taps --save-grads --save-params "$@"
}
same() { # same EXPECTED-PREFIX ARGUMENTS...
  expected_prefix=$1
  shift
  compare "$nano_expected" "$scratch/three" --expected-prefix "$expected_prefix" "$@"
}
planned() { # planned FIELD FILE: a number of `inspect --json`
  sed -n "s/.*\"peak_bytes\": .*\"$1\": \([0-9]*\).*/\1/p" "$2"
}
at_most() { # at_most NUMBER LIMIT
  [ -n "$1" ] && [ "$1" -le "$2" ] || { echo "$1, not at most $2"; return 1; }
}

# 38 MiB without a budget, and more with the gradients and taps that are compared
budget=31M bytes=$((31 << 20))
# Blocks of many threads leave more partial sums of weights' gradients, so that 31M can be met by pass
# correlate alone, which sums in another order.
[ "$target" = cuda-shim ] && budget=32M
check "within a budget" steps three --memory-budget $budget
check "without" steps without
check "losses" same train. --exclude '\.step0\.|step[12]\.[^l]' --rtol 1e-3
check "outputs and taps" same train.step0. --exclude 'grad\.|param\.'
check "gradients" same train.step0.grad. --output-prefix grad. --rtol 1e-3
check "parameters after three steps" same train.step2.param. --output-prefix param. \
  --rtol 2e-2 --exclude "$zero_gradient|running_"
check "running statistics after three steps" same train.step2.param. --output-prefix param. \
  --rtol 2e-2 --exclude '(weight|bias|gamma)$'
check "the very bits as without a budget" cmp "$scratch/without" "$scratch/three"
expect 1 "without the pass" steps none --memory-budget $budget --skip remat
says "--memory-budget: pass remat is left out"

if [ "$target" = cpu ]; then
  small="$clip $nano --set batch=3"
  "$tricot" inspect $small --json >"$scratch/free"
  expect 0 "memory within a budget" "$tricot" inspect $small --json --memory-budget $budget
  mv "$scratch/out" "$scratch/kept"
  check "the plan keeps to it" at_most "$(planned train_step "$scratch/kept")" $bytes
  check "which it would not" at_most $((bytes + 1)) "$(planned train_step "$scratch/free")"
  expect 1 "a budget too small for anything" "$tricot" inspect $small --json --memory-budget 14M
  says "dcformer.yaml:"
  says "error: @train_step needs "
  says "the memory budget is 14.0 MiB. Alive in step "
  says "note: 768.0 KiB: f32[3,8,16,16,32], result of "
  says "input volume"
  says "--accumulate N"
  expect 2 "no amount of memory" "$tricot" run "$clip" --memory-budget 12X
  says '"12X" is no amount of memory such as 400M'
  expect 1 "the interpreter" steps none --target interp --memory-budget $budget
  says "the target interp plans no memory"
fi
finish
