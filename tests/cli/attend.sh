# attend.sh TARGET: attention as one op gives what its parts give, forward and gradients: without a
# mask, with several texts a row, with padding, and for queries that see no key.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/tensors.sh"
target=$1
tensor_file "$scratch/inputs" \
  '{"target":{"dtype":"F32","shape":[2,45,60],"data_offsets":[0,21600]}}' 21600

run() { # run OUTPUT ARGUMENTS...
  out=$scratch/$1
  shift
  "$tricot" run "$TRICOT_SOURCE/tests/models/attention.yaml" --entry train_step --save-taps \
    --save-grads --inputs "$scratch/inputs" --target "$target" --outputs "$out" "$@"
}

for mask in none texts padding nobody; do
  tolerance=1e-5
  [ $mask = nobody ] && tolerance=2e-3 # scores keep their distance of 10000 in f32
  check "one op, mask $mask" run one --set mask=$mask
  check "its parts, mask $mask" run parts --set mask=$mask --skip attend
  check "equal, mask $mask" compare "$scratch/parts" "$scratch/one" --rtol $tolerance
  if [ "$target" = cpu ]; then
    check "one thread, mask $mask" run single --set mask=$mask --threads 1
    check "bits are equal, mask $mask" cmp "$scratch/one" "$scratch/single"
  fi
done
"$tricot" compile "$TRICOT_SOURCE/tests/models/attention.yaml" --mode train --emit graph --target "$target" \
  -o "$scratch/graph.tg" || fail "no graph"
check "the op is there" grep -q "= attention_grad " "$scratch/graph.tg"
finish
