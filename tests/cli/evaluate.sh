# Evaluation from end to end on made-up volumes: zero-shot, retrieval, both probes, their files and
# the HTML report, by the command and by a compiled executable.
. "$(dirname "$0")/common.sh"
cd "$scratch" || exit 1
xml_check() {
  "$TRICOT_BUILD/tests/xml_check" "$@"
}
quiet() { # quiet COMMAND...: output to out, messages to err
  "$@" >out 2>err || {
    cat err
    return 1
  }
}
check "synthetic data" quiet "$tricot" synth --output data --train 20 --valid 10 --size 32x48x48
check "its cache" quiet "$tricot" prepare --dataset data --cache cache --size 16x32x32 \
  --spacing 20:10.8
model="$models/clip-mini.yaml --variant nano --set volume=[16,32,32]"
case $(uname -m) in
x86_64) level=x86-64-v3 ;;
*) level=aarch64 ;;
esac
target="--target cpu:$level"
common="--cache cache --vocab data/vocab.txt"
check "a few steps of training" quiet "$tricot" train $model $target $common --out run --steps 8 \
  --seed 1 --loss.negatives micro
weights="--weights run/model.safetensors"
evaluate() { # evaluate KIND OUT MORE...
  kind=$1 out=$2
  shift 2
  "$tricot" eval "$kind" $model $target $common $weights --out "$out" "$@"
}
field() { # field NAME FILE: the first number behind "NAME":
  sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p" "$2" | head -n 1
}

# ---- zero-shot ----
expect 0 "zero-shot" evaluate zeroshot ev
check "its files" ls ev/zeroshot.csv ev/zeroshot-findings.csv ev/zeroshot-overall.csv \
  ev/zeroshot-table.csv ev/zeroshot-thresholds.json ev/zeroshot.json ev/report.html
check "18 findings and a header" [ "$(wc -l <ev/zeroshot-findings.csv)" -eq 19 ]
check "ten volumes and a header" [ "$(wc -l <ev/zeroshot.csv)" -eq 11 ]
check "the paper's columns" grep -q '^encoder,variant,parameters (M),.*accuracy,F1 (weighted),' \
  ev/zeroshot-table.csv
check "intervals" grep -q '"interval95"' ev/zeroshot.json
cp ev/zeroshot.json first.json
expect 0 "again" evaluate zeroshot ev
says 'latents of split valid taken from ev/latents-valid.safetensors'
check "the same bytes" cmp first.json ev/zeroshot.json
expect 0 "other replicates" evaluate zeroshot other --bootstrap 0 --json
check "no intervals" sh -c '! grep -q interval95 other/zeroshot.json'
check "JSON on stdout" cmp out other/zeroshot.json
check "the same probabilities" cmp ev/zeroshot.csv other/zeroshot.csv

# findings and templates are settings; what is no label has probabilities but no score
expect 0 "own findings" evaluate zeroshot own --set \
  'findings=["Cardiomegaly", "Gallstones", "emphysema"]'
check "their columns" grep -q '^VolumeName,Cardiomegaly,Gallstones,emphysema$' own/zeroshot.csv
check "two are scored" [ "$(wc -l <own/zeroshot-findings.csv)" -eq 3 ]
cut -d, -f2 own/zeroshot.csv >left
cut -d, -f4 ev/zeroshot.csv >right
check "a finding's probability does not depend on the others" cmp left right
expect 0 "two templates" evaluate zeroshot two --set 'findings=["Cardiomegaly"]' \
  --set "templates=[['{} is present.','{} is not present.'],['{} seen, \"yes\"','no {}']]"
check "both are named" grep -q '\["{} seen, \\"yes\\"", "no {}"\]' two/zeroshot.json
expect 0 "averaged probabilities" evaluate zeroshot twop --set 'findings=["Cardiomegaly"]' \
  --set "templates=[['{} is present.','{} is not present.'],['{} seen','no {}']]" \
  --set ensemble=probabilities
expect 0 "the second alone" evaluate zeroshot second --set 'findings=["Cardiomegaly"]' \
  --set "templates=[['{} seen','no {}']]"
tail -n +2 own/zeroshot.csv | cut -d, -f2 >first.txt
tail -n +2 second/zeroshot.csv | cut -d, -f2 >second.txt
tail -n +2 twop/zeroshot.csv | cut -d, -f2 >both.txt
check "the mean of both" sh -c "paste first.txt second.txt both.txt |
  awk '{d = (\$1 + \$2) / 2 - \$3; if (d > 1e-7 || d < -1e-7) exit 1}'"
cat >run.yaml <<END
run: own
model: $models/clip-mini.yaml
variant: nano
batch: 4
lr: 1e-3
set:
  volume: "[16, 32, 32]"
  findings: '["Cardiomegaly", "Gallstones", "emphysema"]'
END
expect 0 "findings of a run file" "$tricot" eval zeroshot run.yaml $target $common $weights \
  --out filed
check "the same as with --set" cmp filed/zeroshot.csv own/zeroshot.csv
expect 1 "a template without a place" evaluate zeroshot none --set 'templates=[["a","b {}"]]'
says 'number 1 is not two texts with {}'
expect 1 "a finding twice" evaluate zeroshot none --set 'findings=["a","A"]'
says '"A" is there twice'
expect 1 "an unknown ensemble" evaluate zeroshot none --set ensemble=votes
says 'an ensemble averages latents or probabilities'

# thresholds: fitted here with a warning, or elsewhere and applied
expect 0 "the ROC corner" evaluate zeroshot corner --thresholds corner
says 'warning: the thresholds were fitted on the volumes they are applied to'
check "said in the report" grep -q 'class="warn"' corner/report.html
expect 0 "fitted on the training split" evaluate zeroshot fit --split train
expect 0 "applied to the other" evaluate zeroshot applied \
  --thresholds fit/zeroshot-thresholds.json
check "without a warning" sh -c '! grep -q "thresholds were fitted" err'
wanted=$(field Cardiomegaly fit/zeroshot-thresholds.json)
check "the threshold is used" grep -q "^Cardiomegaly,[0-9]*,$wanted," \
  applied/zeroshot-findings.csv
expect 0 "applied to where it was fitted" evaluate zeroshot applied --split train \
  --thresholds fit/zeroshot-thresholds.json
says 'warning: the thresholds were fitted'
expect 1 "no such thresholds" evaluate zeroshot applied --thresholds run.yaml
says 'run.yaml: error: '

# ---- retrieval ----
expect 0 "retrieval" evaluate retrieval ev --k 1,3,10
check "everything is among ten" grep -q '^pairs,image_to_text,10,10,1,1,1$' ev/retrieval.csv
check "both ways of counting" grep -q '^shared_reports,text_to_image,' ev/retrieval.csv
check "the paper's columns" grep -q 'IR (image to text) R@3,.*TR (text to image) R@10' \
  ev/retrieval-table.csv
expect 1 "a bad list" evaluate retrieval ev --k 1,x
says '--k: error: '

# ---- probes ----
expect 0 "a strict probe" evaluate probe ev
says 'latents of split valid taken from'
check "its head" ls ev/probe-head.safetensors ev/latents-train.safetensors
check "converged" awk "BEGIN {exit !($(field gradient_left ev/probe.json) < 1e-6)}"
expect 0 "on its own training volumes" evaluate probe fitted --split train
says 'warning: the probe is trained and scored on the same split'
check "it learns them" awk "BEGIN {exit !($(field auroc_macro fitted/probe.json) > 0.9)}"
expect 1 "epochs of nothing" evaluate probe published --as-published --probe-epochs 0
says 'must be 1 or more'
published="--as-published --probe-batch 4 --probe-lr 0"
expect 0 "as published" evaluate probe published $published --probe-epochs 1
cp published/probe.csv one.csv
check "a row an epoch" [ "$(wc -l <published/probe-log.csv)" -eq 2 ]
expect 0 "two epochs" evaluate probe published $published --probe-epochs 2
check "at rate 0 running averages alone move the result" sh -c \
  '! cmp -s one.csv published/probe.csv'
expect 0 "two epochs again" evaluate probe again $published --probe-epochs 2
check "the same bytes" cmp published/probe.csv again/probe.csv
expect 2 "as published, of something else" evaluate zeroshot ev --as-published
says '--as-published is for eval probe'

# ---- the report ----
check "the report is well-formed and alone" xml_check ev/report.html corner/report.html \
  published/report.html
for section in zeroshot retrieval probe training settings; do
  check "section $section" grep -q "<section id=\"$section\">" ev/report.html
done
check "slices" grep -q 'src="data:image/png;base64,' ev/report.html
check "a notice" grep -q 'For research use only. Not for diagnosis.' ev/report.html
printf '<p>a<br></p>' >broken.html
check "a page that is not well-formed is seen" sh -c '! "$1" broken.html 2>/dev/null' - \
  "$TRICOT_BUILD/tests/xml_check"
printf '<p><img src="x.png"/></p>' >linked.html
check "a link is seen" sh -c '! "$1" linked.html 2>/dev/null' - "$TRICOT_BUILD/tests/xml_check"
cp -r ev mixed
"$tricot" train $model $target $common --out run2 --steps 2 --seed 2 \
  --loss.negatives micro >out 2>err
expect 0 "other weights" "$tricot" eval retrieval $model $target $common \
  --weights run2/model.safetensors --out mixed
says 'mixed/report/zeroshot.html is of other weights and left out of the report'
check "are not mixed in" sh -c '! grep -q "section id=\"zeroshot\"" mixed/report.html'

# ---- a compiled executable ----
expect 0 "compile" "$tricot" compile $model $target -o model
for kind in zeroshot retrieval probe; do
  expect 0 "$kind by the executable" ./model eval $kind $common $weights --out compiled --k 1,3,10
done
for file in zeroshot.csv zeroshot-findings.csv retrieval.csv probe.csv report.html; do
  check "$file: the same" cmp ev/$file compiled/$file
done
expect 1 "as published by the executable" ./model eval probe --as-published $common $weights \
  --out compiled
says 'this program has no image encoder in training mode (tricot compile --probe-batch N)'
expect 0 "compile for it" "$tricot" compile $model $target --mode infer --probe-batch 4 -o prober
expect 0 "as published by that" ./prober eval probe $published $common $weights --probe-epochs 2 \
  --out compiled
check "probe.csv: the same" cmp published/probe.csv compiled/probe.csv
expect 1 "in other batches" ./prober eval probe --as-published --probe-batch 8 $common $weights \
  --out compiled
says '--probe-batch 8: error: this program takes 4 volumes at a time'
finish
