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

corpus=$data/reports/ctclip_text_classifier_train.csv
for out in one two; do
  check "vocab" "$tricot" vocab --corpus "$corpus" --size 1000 -o "$scratch/$out.txt"
done
check "the same bytes" cmp "$scratch/one.txt" "$scratch/two.txt"
check "as many pieces as asked for" test "$(wc -l <"$scratch/one.txt")" -eq 1000
check "tokenize a corpus" "$tricot" tokenize --vocab "$scratch/one.txt" --corpus "$corpus" \
  --tokens --output "$scratch/tokens"
check "one list a report" test "$(wc -l <"$scratch/tokens")" -eq 800
check "no unknown word" test "$(grep -c UNK "$scratch/tokens")" -eq 0
check "shapes" "$tricot" tokenize --vocab "$scratch/one.txt" --corpus "$corpus" --length 512 \
  --plan 8 --shapes 2 --output "$scratch/plan"
check "batches" grep -q '"batches": 100' "$scratch/plan"
expect 1 "too few pieces" "$tricot" vocab --corpus "$corpus" --size 20 -o "$scratch/few.txt"
says "20 pieces are too few"
absent "$scratch/few.txt"
expect 1 "another column" "$tricot" vocab --corpus "$corpus" --column report -o "$scratch/few.txt"
says 'no column "report"'
expect 1 "no such corpus" "$tricot" vocab --corpus "$scratch/nothing.csv" -o "$scratch/few.txt"
says "nothing.csv: error"
expect 2 "no corpus" "$tricot" vocab --size 100
expect 2 "a plan without a length" "$tricot" tokenize --vocab "$scratch/one.txt" \
  --corpus "$corpus" --plan 8

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
