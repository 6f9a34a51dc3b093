# The comparing programs themselves: they must also say no.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/tensors.sh"

# f32 values 0 0, then 1.0 (bytes 00 00 80 3f) in place of one of them
entry() {
  printf '"%s":{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}' "$1" "$2" $(($2 + 8))
}
tensor_file "$scratch/zeros" "{$(entry a.x 0),$(entry a.y 8)}" 16
tensor_file "$scratch/one" "{$(entry a.x 0),$(entry a.y 8)}" 4
printf '\000\000\200\077' >>"$scratch/one"
head -c 8 /dev/zero >>"$scratch/one"
tensor_file "$scratch/nan" "{$(entry a.x 0),$(entry a.y 8)}" 4
printf '\000\000\300\177' >>"$scratch/nan"
head -c 8 /dev/zero >>"$scratch/nan"
tensor_file "$scratch/short" "{$(entry b.x 0)}" 8
tensor_file "$scratch/turned" '{"a.x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}' 8
cd "$scratch" || exit 1

expect 0 "equal" compare zeros zeros
expect 0 "equal but for a value" compare one one
expect 1 "a value beside zeros" compare zeros one
expect 0 "within the limit for zeros" compare zeros one --zero-atol 1
expect 1 "zeros beside a value" compare one zeros
expect 0 "within the relative limit" compare one zeros --rtol 1
expect 1 "beyond the largest difference" compare one zeros --rtol 1 --max-abs 0.99
expect 0 "within the largest difference" compare one zeros --max-abs 1
expect 1 "no number" compare zeros nan --zero-atol 1e30
expect 1 "no number in the expectation" compare nan zeros --max-abs 1e30
expect 0 "excluded" compare zeros one --exclude 'x$'
expect 1 "missing" compare zeros short --expected-prefix a. --output-prefix b.
expect 0 "renamed" compare zeros short --expected-prefix a. --output-prefix b. --exclude y
expect 1 "another shape" compare zeros turned --exclude y
expect 1 "nothing to compare" compare zeros zeros --expected-prefix c.
expect 1 "no such file" compare zeros nothing
expect 2 "unknown option" compare zeros zeros --loose
expect 2 "one file" compare zeros

echo '{"a": [1, 2.5], "b": {"c": "x"}}' >left
echo '{"a": [1, 2.5000001], "b": {"c": "x", "d": true}}' >right
echo '{"a": [2, 2.5], "b": {"c": "x"}}' >other
expect 0 "JSON within the limit" compare_json left right
expect 1 "JSON beyond the limit" compare_json left right --atol 1e-9
expect 1 "more keys" compare_json left right --exact-keys
expect 1 "a missing key" compare_json right left
expect 1 "another number" compare_json left other --atol 1e-3
printf '{"ids": [1]}\n{"ids": []}\n' >left
printf '[1]\n[]\n' >right
printf '[1]\n' >other
expect 0 "lines" compare_json left right --lines --key ids
expect 1 "a line too few" compare_json left other --lines --key ids
expect 1 "a line too many" compare_json other right --lines
finish
