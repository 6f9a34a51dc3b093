# Parameters, FLOPs and stages of the DCFormer variants against the published counts.
. "$(dirname "$0")/common.sh"

for variant in nano naive tiny; do
  check "inspect $variant" \
    sh -c '"$1" inspect "$2" --variant "$3" --json >"$4"' - \
    "$tricot" "$models/dcformer.yaml" $variant "$scratch/$variant.json"
  check "counts of $variant" \
    compare_json "$TRICOT_SOURCE/tests/cli/inspect-$variant.json" "$scratch/$variant.json"
done
finish
