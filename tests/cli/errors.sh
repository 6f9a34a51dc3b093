# Wrong input: exit status 1, a message that says what and where, and nothing left behind; wrong
# usage: 2.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/tensors.sh"
cd "$scratch" || exit 1

# ---- model files ----
cat >bad.yaml <<'END'
tricot: 1
model: bad
inputs:
  x: f32[2, 3]
entries:
  encode_image(x):
    - output y = matmul(x, x)
END
tensor_file empty '{}' 0
expect 1 "shapes that do not fit" "$tricot" inspect bad.yaml
says 'bad.yaml:7:18: error: '
says '    - output y = matmul(x, x)'
says '                 ^'
expect 1 "the same from run" "$tricot" run bad.yaml --entry encode_image --inputs empty \
  --outputs result --seed 1
says 'bad.yaml:7:18: error: '
absent result
printf 'tricot: 1\nmodel: [\n' >broken.yaml
expect 1 "not YAML" "$tricot" inspect broken.yaml
says 'broken.yaml:'
says '^'
expect 1 "no such model file" "$tricot" inspect nowhere.yaml
says 'nowhere.yaml: error: '
expect 1 "no such variant" "$tricot" inspect "$clip" --variant huge
says 'huge'
expect 1 "no such argument" "$tricot" inspect "$clip" --set volum=[1,1,1]
says "volum"
expect 1 "an argument of the wrong kind" "$tricot" inspect "$clip" --set 'batch="two"'
says 'batch'
expect 1 "an argument that fails a check" "$tricot" inspect "$clip" --set text.heads=5
says 'does not divide into heads'

# ---- usage ----
expect 2 "no verb" "$tricot"
expect 2 "unknown verb" "$tricot" trian "$clip"
says "did you mean 'train'"
for verb in inspect train eval predict run bench info opt prepare tokenize score; do
  expect 2 "$verb: unknown option" "$tricot" $verb --no-such-option
  says 'no-such-option'
  expect 0 "$verb --help" "$tricot" $verb --help
done
if has_verb compile; then
  expect 2 "compile: unknown option" "$tricot" compile --no-such-option
  says 'no-such-option'
  expect 1 "kernels of the interpreter" "$tricot" compile "$clip" --target interp --emit c -o result
  says 'interp has no kernels'
  absent result
  expect 1 "no CPU level" "$tricot" compile "$clip" --target cpu: -o result
  says '--'
  absent result
fi
expect 2 "a count of 2^32 + 1 runs" "$tricot" bench "$clip" --entry encode_text --repeat 4294967297
says '--repeat'
expect 2 "run without an entry point" "$tricot" run "$clip"
expect 2 "an option without its value" "$tricot" run "$clip" --entry
expect 2 "prepare without a volume" "$tricot" prepare --output result
expect 2 "a size that is none" "$tricot" prepare --volume v.nii --size 32x64 --output result
expect 0 "help" "$tricot" --help
expect 0 "version" "$tricot" --version
check "of what it compiles with too" grep -qE '^tricot [0-9.]+ \((no )?LLVM.*, (no )?NVRTC.*\)$' \
  "$scratch/out"

# ---- tensors ----
small="--variant nano --set volume=[32,32,32] --set text.vocab=16 --set text.width=8
 --set text.layers=1 --set text.heads=2 --set text.hidden=16 --set text.positions=8
 --set text.length=8 --set batch=2 --seed 1"
volume='"volume":{"dtype":"F32","shape":[2,1,32,32,32],"data_offsets":[0,262144]}'
ids='"input_ids":{"dtype":"I64","shape":[2,8],"data_offsets":[262144,262272]}'
mask='"attention_mask":{"dtype":"I64","shape":[2,8],"data_offsets":[262272,262400]}'
tensor_file good "{$volume,$ids,$mask}" 262400
for target in interp cpu c cuda-shim; do
  expect 0 "good inputs, $target" "$tricot" run "$clip" $small --entry encode_text --inputs good \
    --outputs result --target $target
  checks=$((checks + 1))
  [ -s result ] || fail "no result"
  rm -f result
done
refuses() { # refuses LABEL INPUTS ARGUMENTS...: run must fail and leave nothing
  label=$1 inputs=$2
  shift 2
  expect 1 "$label" "$tricot" run "$clip" $small --inputs "$inputs" --outputs result "$@"
  absent result
}
tensor_file missing "{$volume,$ids}" 262272
refuses "a missing input" missing --entry forward
says 'missing: error: input "attention_mask"'
sed 's/\[2,1,32,32,32\]/[2,1,32,16,64]/' good >shaped
refuses "an input of another shape" shaped --entry forward
says 'input "volume" is f32[2,1,32,16,64]'
says 'f32[2,1,32,32,32]'
sed 's/"F32"/"I32"/; s/"I64"/"F64"/' good >typed
refuses "ids that are no whole numbers" typed --entry forward
says 'input_ids'
tensor_file foreign "{$volume,$ids,$mask}" 262144
printf '\020\000\000\000\000\000\000\000' >>foreign
head -c 248 /dev/zero >>foreign
refuses "an id outside the vocabulary" foreign --entry forward
says 'input_ids[0,0] is 16'
says '0 to 15'
tensor_file negative "{$volume,$ids,$mask}" 262144
printf '\377\377\377\377\377\377\377\377' >>negative
head -c 248 /dev/zero >>negative
refuses "a negative id" negative --entry encode_text
says 'input_ids[0,0] is -1'
tensor_file masked "{$volume,$ids,$mask}" 262272
printf '\002\000\000\000\000\000\000\000' >>masked
head -c 120 /dev/zero >>masked
refuses "a mask that is neither 0 nor 1" masked --entry encode_text
says 'attention_mask[0,0] is 2'
head -c 1000 good >cut
refuses "a file cut short" cut --entry forward
says 'cut: error: '
refuses "no such file" nothing --entry forward
says 'nothing: error: '
refuses "no such entry point" good --entry encode_sound
says 'encode_sound'
refuses "no such target" good --entry forward --target tpu
says "tpu"
refuses "no such pass" good --entry forward --skip knot
says 'knot'
refuses "weights that do not fit" good --entry encode_text --weights good
says 'good: error: '
expect 1 "an output that cannot be written" "$tricot" run "$clip" $small --entry encode_text \
  --inputs good --outputs no/such/folder/result
says 'no/such/folder/result'
mkdir folder
expect 1 "an output that is a folder" "$tricot" run "$clip" $small --entry encode_text \
  --inputs good --outputs folder
says 'folder'

# ---- data ----
printf 'this is no volume, whatever its name says' >v.nii
expect 1 "not a volume" "$tricot" prepare --volume v.nii --size 32x64x64 --output result
says 'v.nii: error: '
absent result
expect 1 "no data set" "$tricot" prepare --dataset nowhere --cache cache
says 'nowhere'
expect 1 "no vocabulary" "$tricot" tokenize --vocab nowhere --text x --output result
says 'nowhere: error: '
absent result
expect 1 "predictions without tensors" "$tricot" score --predictions empty --output result
says 'empty: error: '
absent result
expect 1 "train without data" "$tricot" train "$clip" $small --cache nowhere --vocab v.nii --loss.negatives micro \
  --out trained
says 'error: '
checks=$((checks + 1))
[ -z "$(find . -name '*.tmp*' -o -name 'result*')" ] || fail "temporary files are left"
finish
