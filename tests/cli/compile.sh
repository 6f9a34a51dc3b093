# compile.sh [all]: compiled artefacts. The same input gives the same bytes, and an executable gives
# the same bits as code that is compiled while the command runs. With `all` every kind, and several
# levels at once.
. "$(dirname "$0")/common.sh"
all=${1:-}
case $(uname -m) in
x86_64) level=x86-64-v3 both=x86-64-v3,x86-64-v4 ;;
aarch64) level=aarch64 both=aarch64 ;;
*) skip "no level to compile for on $(uname -m)" ;;
esac
clip_settings="$nano --set batch=3 --set optimizer.lr=1e-3"
model=$clip settings=$clip_settings
mkdir "$scratch/elsewhere"

# twice KIND ARGUMENTS...: compiles two times, the second from another folder under another name
twice() {
  kind=$1
  shift
  expect 0 "$kind" "$tricot" compile "$model" $settings --emit "$kind" -o "$scratch/$kind" "$@"
  expect 0 "$kind again" sh -c 'cd "$1" && shift && "$@"' - "$scratch/elsewhere" \
    "$tricot" compile "$model" $settings --emit "$kind" -o again "$@"
  check "$kind: the same bytes" cmp "$scratch/$kind" "$scratch/elsewhere/again"
}
if [ "$all" = all ]; then
  for kind in kernel llvm object c; do
    twice $kind --mode infer
  done
  twice shared --target cpu:$level --mode infer
  twice static --target cpu:$level --mode infer
  twice exe --target cpu:$both
else
  twice exe --target cpu:$level
fi
for kind in graph asm cuda; do
  twice $kind --mode infer
done
model=$models/dcformer.yaml settings="--variant nano --set volume=[32,32,32]"
if "$tricot" compile "$model" $settings --emit ptx --mode infer -o "$scratch/cubin" \
  2>"$scratch/err"; then
  twice cubin --mode infer --target cuda:sm_80
else
  echo "cubins are left out: $(cat "$scratch/err")"
  absent "$scratch/cubin"
fi

# the sanitizers' own library brings libstdc++ along
unwanted='LLVM|yaml|stdc\+\+'
if ldd "$scratch/exe" | grep -q libasan; then unwanted='LLVM|yaml'; fi
check "the executable needs no compiler" sh -c '! ldd "$1" | grep -E "$2"' - \
  "$scratch/exe" "$unwanted"
if [ -e "$nano_expected" ] && grep -qE 'avx2|asimd' /proc/cpuinfo; then
  check "info" sh -c '"$1" info >"$2"' - "$scratch/exe" "$scratch/info"
  chosen=$(sed -n 's/^level *\([^,]*\),.*/\1/p' "$scratch/info")
  for run in forward train_step; do
    more=
    [ $run = train_step ] && more="--steps 3 --save-params"
    check "$run by the executable" "$scratch/exe" run --entry $run $more $nano_files \
      --outputs "$scratch/ahead"
    check "$run by the command" "$tricot" run "$clip" $clip_settings --target "cpu:$chosen" \
      --entry $run $more $nano_files --outputs "$scratch/at-once"
    check "$run: the same bits" cmp "$scratch/ahead" "$scratch/at-once"
  done
else
  echo "running is left out: no reference values at $nano_expected, or no CPU of level $level"
fi

expect 1 "an unknown level" "$tricot" compile "$model" $settings --target cpu:i486 \
  -o "$scratch/none"
says 'i486'
absent "$scratch/none"
expect 2 "an unknown kind" "$tricot" compile "$model" --emit pdf -o "$scratch/none"
says 'pdf'
absent "$scratch/none"
expect 1 "an output that cannot be written" "$tricot" compile "$model" $settings --mode infer \
  --emit graph -o "$scratch/no/such/folder"
says 'no/such/folder'
expect 1 "a bad model" "$tricot" compile "$TRICOT_SOURCE/tests/err/shapes.yaml" -o "$scratch/none"
says 'shapes.yaml:'
absent "$scratch/none"
finish
