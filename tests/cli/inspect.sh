# Parameters, FLOPs and stages of the DCFormer variants against the published counts; pages.
. "$(dirname "$0")/common.sh"

for variant in nano naive tiny; do
  check "inspect $variant" \
    sh -c '"$1" inspect "$2" --variant "$3" --json >"$4"' - \
    "$tricot" "$models/dcformer.yaml" $variant "$scratch/$variant.json"
  check "counts of $variant" \
    compare_json "$TRICOT_SOURCE/tests/cli/inspect-$variant.json" "$scratch/$variant.json"
done

# the page of an entry point: well-formed, a box and an entry a kernel, every tensor of the arena
count() { # count FILE PATTERN: how often it holds the pattern
  grep -oE "$2" "$1" | wc -l
}
page=$scratch/page.html
few="--variant nano --set volume=[32,64,64]"
expect 0 "a page" "$tricot" inspect "$models/dcformer.yaml" $few --html "$page"
check "it needs nothing from outside" "$TRICOT_BUILD/tests/xml_check" --scripts "$page"
kernels=$(count "$page" '<details id="k[0-9]+">')
check "some kernels" [ "$kernels" -ge 20 ]
check "each is drawn closed and with its ops" [ "$(count "$page" '<g class="box [a-z]+" data-b="[0-9]+" data-k=')" \
  -eq $((2 * kernels)) ]
check "the three branches of a block are in the model's graph" \
  [ "$(count "$page" '<title>conv3d of ')" -ge 24 ]
check "a kernel's code" grep -q 'tile kernel @tap_conv' "$page"
"$tricot" compile "$models/dcformer.yaml" $few --mode infer --emit graph --dump memory \
  -o "$scratch/graph" >"$scratch/plan"
slots=$(sed -n 's/^# arena of @encode_image.* in \([0-9]*\) tensors.*/\1/p' "$scratch/plan")
check "a rectangle a tensor" [ "$(count "$page" '<rect class="slot ')" -eq "$slots" ]
check "the volume is alive at the peak" grep -q '<td>input volume ' "$page"
expect 0 "the page of a training step" "$tricot" inspect "$clip" $nano --set batch=2 \
  --entry train_step --html "$page"
check "it needs nothing from outside" "$TRICOT_BUILD/tests/xml_check" --scripts "$page"
check "it updates weights" grep -q 'updates visual_transformer.encoder.s0.0.0.c1.0.weight<' "$page"
check "stages, forward and back" [ "$(count "$page" ' data-g="[0-9]+"')" -ge 12 ]
expect 0 "batch statistics" "$tricot" inspect "$models/dcformer.yaml" $few --set batch=2 \
  --mode train --html "$scratch/train.html"
check "are another graph" [ "$(count "$scratch/train.html" '<details id="k[0-9]+">')" -gt "$kernels" ]

if "$tricot" inspect "$models/dcformer.yaml" $few --target cuda:sm_80,sm_90a --html "$page" \
  2>"$scratch/err"; then
  check "it needs nothing from outside" "$TRICOT_BUILD/tests/xml_check" --scripts "$page"
  kernels=$(count "$page" '<details id="k[0-9]+">')
  for arch in sm_80 sm_90a; do
    check "registers of every kernel on $arch" \
      [ "$(count "$page" "$arch</t[hd]><td>[1-9][0-9]* registers, ")" -eq "$kernels" ]
  done
else
  echo "registers are left out: $(cat "$scratch/err")"
fi

expect 1 "no such entry point" "$tricot" inspect "$models/dcformer.yaml" --entry nothing \
  --html "$scratch/none"
says 'no entry point'
absent "$scratch/none"
expect 1 "nowhere to write" "$tricot" inspect "$models/dcformer.yaml" $few \
  --html "$scratch/no/such/folder"
says 'no/such/folder'
expect 2 "an entry point of nothing" "$tricot" inspect "$models/dcformer.yaml" --entry encode_image
says '--html'
finish
