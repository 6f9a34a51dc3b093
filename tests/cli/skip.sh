# skip.sh TARGET: every optimising pass and fusion can be left out, alone and all together, with equal results.
. "$(dirname "$0")/common.sh"
target=$1
need "$nano_expected"

same() { # same EXPECTED-PREFIX OUTPUT ARGUMENTS...
  expected_prefix=$1 out=$scratch/$2
  shift 2
  compare "$nano_expected" "$out" --expected-prefix "$expected_prefix" "$@"
}

# the passes of the standard order that `opt --list` does not mark as needed
list=$("$tricot" opt --list) || exit 1
order=$(echo "$list" | sed -n 's/^standard order: //p')
passes=
for pass in $order; do
  echo "$list" | grep -q "^$pass .*(needed)\$" && continue
  case " $passes " in *" $pass "*) ;; *) passes="$passes $pass" ;; esac
done
[ -n "$passes" ] || fail "opt --list shows no optimising pass"
fusions=$(echo "$list" | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ -n "$fusions" ] || fail "opt --list shows no fusion"
passes="$passes $(echo $fusions) norm_bias"

for skipped in $passes $(echo $passes | tr ' ' ,); do
  check "forward without $skipped" run_nano forward --entry forward --skip "$skipped"
  check "outputs and taps without $skipped" same eval. forward
  check "three steps without $skipped" run_nano three --entry train_step --steps 3 --save-grads \
    --save-params --skip "$skipped"
  check "losses without $skipped" same train. three --exclude '\.step0\.|step[12]\.[^l]' \
    --rtol 1e-3
  check "gradients without $skipped" same train.step0.grad. three --output-prefix grad. --rtol 1e-3
  check "parameters without $skipped" same train.step2.param. three --output-prefix param. \
    --rtol 2e-2 --exclude "$zero_gradient|running_"
done
finish
