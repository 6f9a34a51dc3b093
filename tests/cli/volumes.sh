# Six real CT volumes, from files to findings: preparation, training until the four training volumes
# are told apart, stop and resume, evaluation, prediction.
. "$(dirname "$0")/common.sh"
tree=$data/ctrate-mini
vocabulary=$data/tokenizer/bert-base-uncased_vocab.txt
need "$tree/dataset"
need "$vocabulary"
cd "$scratch" || exit 1
sizes="--variant nano --set volume=[64,128,128] --set text.width=64 --set text.layers=2
 --set text.heads=4 --set text.hidden=256 --set text.positions=64 --set text.length=64
 --set temperature=learned"

# ---- preparation ----
expect 0 "prepare the data set" "$tricot" prepare --dataset "$tree" --cache cache --size 64x128x128
says '6 volumes prepared, 0 kept'
check "files stay" sh -c 'ls -i cache/*/* >before'
expect 0 "prepare again" "$tricot" prepare --dataset "$tree" --cache cache --size 64x128x128
says '0 volumes prepared, 6 kept'
check "nothing was written again" sh -c 'ls -i cache/*/* | cmp before -'
volume=$tree/dataset/train/train_3/train_3_a/train_3_a_1.nii.gz
check "prepare one volume" "$tricot" prepare --volume "$volume" --size 64x128x128 \
  --metadata "$tree/metadata/train_metadata.csv" --output one
check "its voxels in the cache" "$tricot" prepare --volume cache/train/train_3_a_1.tvol --output two
check "the same voxels, to a code of 16 bits" compare one two --max-abs 1.54e-5

# ---- training ----
train() { # train OUT STEPS ARGUMENTS...
  out=$1 steps=$2
  shift 2
  "$tricot" train "$clip" $sizes --set batch=4 --cache cache --vocab "$vocabulary" --loss.negatives micro --out "$out" \
    --steps "$steps" "$@"
}
losses() { # losses LOG: everything but the times
  cut -d, -f1-4 "$1"
}
expect 0 "train" train whole 40 --seed 1 --lr 1e-3
final=$(tail -n 1 whole/log.csv | cut -d, -f3)
echo "final loss $final"
check "the final loss is below 0.1" awk "BEGIN {exit !($final < 0.1)}"
check "forty rows in the log" [ "$(wc -l <whole/log.csv)" -eq 41 ]

# told to end, it lets the step finish and writes a checkpoint; from there everything is the same
"$tricot" train "$clip" $sizes --set batch=4 --cache cache --vocab "$vocabulary" --loss.negatives micro --out stopped \
  --steps 40 --seed 1 --lr 1e-3 2>stopped.err &
process=$!
tries=0
until [ -e stopped/log.csv ] && [ "$(wc -l <stopped/log.csv)" -gt 5 ] || [ $tries -gt 600 ]; do
  tries=$((tries + 1))
  sleep 0.2
done
kill -TERM $process
wait $process
left=$(ls stopped/checkpoint-*.safetensors)
check "a checkpoint when it was told to end" [ -e "$left" ]
check "no model yet" [ ! -e stopped/model.safetensors ]
expect 0 "resume" train stopped 40 --resume "$left"
losses whole/log.csv >left
losses stopped/log.csv >right
check "the same losses" cmp left right
check "the same model" cmp whole/model.safetensors stopped/model.safetensors
check "the same checkpoint" cmp whole/checkpoint-00000040.safetensors \
  stopped/checkpoint-00000040.safetensors

expect 1 "resume with another seed" train stopped 41 --seed 2 \
  --resume stopped/checkpoint-00000040.safetensors
says 'seed'
expect 1 "resume from what is no checkpoint" train stopped 41 --resume whole/model.safetensors
says 'model.safetensors: error: '

# ---- evaluation ----
trained="$sizes --vocab $vocabulary --weights whole/model.safetensors"
expect 0 "zero-shot evaluation" "$tricot" eval zeroshot "$clip" $trained --cache cache \
  --out zeroshot
echo '{"volumes": 2, "scored": 2, "model": "clip-dcformer"}' >wanted
check "its JSON" compare_json wanted zeroshot/zeroshot.json
check "two volumes, 18 probabilities each" awk -F, '
  NR > 1 { for (i = 2; i <= NF; i++) if (!($i > 0 && $i < 1)) exit 1; if (NF != 19) exit 1 }
  END { if (NR != 3) exit 1 }' zeroshot/zeroshot.csv
expect 0 "retrieval on the training volumes" "$tricot" eval retrieval "$clip" $trained \
  --cache cache --split train --out retrieval
cat >wanted <<'END'
{"scored": 4, "retrieval": {"text_to_image": {"R@1": 1}, "image_to_text": {"R@1": 1}}}
END
check "each finds its own" compare_json wanted retrieval/retrieval.json

# ---- prediction ----
scan=$tree/dataset/valid/valid_1/valid_1_a/valid_1_a_1.nii.gz
# the model was trained on volumes stored as LAS, this one is stored as LPS
expect 0 "predict from a volume" "$tricot" predict "$clip" $trained "$scan" \
  --metadata "$tree/metadata/validation_metadata.csv" --out turned.txt
check "brought into the orientation of training" grep -q 'stored LPS, turned to LAS' turned.txt
expect 0 "predict from it as the cache has it" "$tricot" predict "$clip" $trained "$scan" --json \
  --metadata "$tree/metadata/validation_metadata.csv" --orientation stored --out scan.json
expect 0 "predict from the cache" "$tricot" predict "$clip" $trained --json --out prepared.json \
  cache/valid/valid_1_a_1.tvol
numbers() { # numbers FILE: the probabilities in order, one a line
  sed -n 's/.*"probabilities": {\(.*\)}.*/\1/p' "$1" | tr , '\n' | sed 's/.*: //; s/}//'
}
numbers scan.json >left
numbers prepared.json >right
check "18 findings" [ "$(wc -l <left)" -eq 18 ]
# a cache stores voxels in 16 bits
close() { # close LEFT RIGHT: to 2e-4
  paste "$1" "$2" | awk '{ d = $1 - $2; if (d * d > 4e-8) { print "differ: " $0; exit 1 } }'
}
check "the same from both" close left right
mv right left
sed -n 2p zeroshot/zeroshot.csv | cut -d, -f2- | tr , '\n' >right
check "the same as in the evaluation" cmp left right
check "a notice" grep -q 'Not for diagnosis' scan.json
printf 'no volume' >bad.nii
expect 1 "one bad volume among two" "$tricot" predict "$clip" $trained bad.nii \
  cache/valid/valid_1_a_1.tvol --json --out mixed.json
says 'bad.nii: error: '
numbers mixed.json >right
check "the other one is predicted" cmp left right
finish
