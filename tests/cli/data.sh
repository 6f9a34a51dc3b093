# prepare, score and tokenize against reference values.
. "$(dirname "$0")/common.sh"
need "$goldens/prep/expected.safetensors"

for volume in train_1_a_1 train_1_a_2 train_2_a_1; do
  check "prepare $volume" "$tricot" prepare --volume "$goldens/prep/$volume.nii.gz" \
    --metadata "$goldens/prep/metadata.csv" --size 32x64x64 --output "$scratch/$volume"
  check "its voxels" compare "$goldens/prep/expected.safetensors" "$scratch/$volume" \
    --expected-prefix "$volume.nii.gz" --output-prefix volume --max-abs 1e-4
done

check "score" "$tricot" score --predictions "$goldens/metrics.safetensors" --json \
  --output "$scratch/scores"
check "metrics" compare_json "$goldens/metrics.expected.json" "$scratch/scores" --exact-keys
check "score more ranks" "$tricot" score --predictions "$goldens/metrics.safetensors" --json \
  --k 1,5,10,50,100 --output "$scratch/scores"
check "the same metrics and more" compare_json "$goldens/metrics.expected.json" "$scratch/scores"
check "R@100 is there" grep -q '"R@100"' "$scratch/scores"

vocabulary=$data/tokenizer/bert-base-uncased_vocab.txt
need "$vocabulary"
for texts in tricky reports; do
  file=$data/tokenizer/wordpiece_$texts.jsonl
  check "tokenize $texts" "$tricot" tokenize --vocab "$vocabulary" --jsonl "$file" \
    --output "$scratch/ids"
  check "ids of $texts" compare_json "$file" "$scratch/ids" --lines --key ids
  check "tokenize $texts to pieces" "$tricot" tokenize --vocab "$vocabulary" --jsonl "$file" \
    --tokens --output "$scratch/pieces"
  check "pieces of $texts" compare_json "$file" "$scratch/pieces" --lines --key tokens
done
finish
