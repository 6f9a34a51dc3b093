# Training in parts on made-up data: accumulated steps, resumed and killed, by the command and by an
# executable; what a run file says of the loss; a loss that is not finite. With the argument `long`
# fifty kills, else five.
. "$(dirname "$0")/common.sh"
grep -qw avx2 /proc/cpuinfo || skip "this machine has no AVX2"
kills=5
[ "${1-}" = long ] && kills=50
cd "$scratch" || exit 1
check "made-up data" "$tricot" synth --output data --train 16 --valid 6 --size 16x16x16 --seed 5
check "prepared" "$tricot" prepare --dataset data --cache cache --size 16x16x16 --spacing 20:20

cat >run.yaml <<END
run: parts
model: $clip
variant: nano
set:
  volume: "[16, 16, 16]"
  latent: 16
  text.length: 128
  text.positions: 128
  text.width: 16
  text.layers: 1
  text.heads: 2
  text.hidden: 32
cache: cache
vocab: data/vocab.txt
spacing: "20:20"
target: cpu:x86-64-v3
batch: 2
accumulate: 3
lr: 1e-3
schedule: cosine
warmup: 3
clip: 1
loss: {negatives: batch}
steps: 12
seed: 3
evaluate-every: epoch
END
losses() { # losses LOG: everything but the times
  cut -d, -f1-5 "$1"
}
same_runs() { # same_runs A B
  losses "$1/log.csv" >left
  losses "$2/log.csv" >right
  cmp left right && cmp "$1/model.safetensors" "$2/model.safetensors" &&
    cmp "$1/validation.csv" "$2/validation.csv" && cmp "$1/best.safetensors" "$2/best.safetensors"
}

expect 0 "what it would cost" "$tricot" train run.yaml --out dry --dry-run
check "steps, time, memory, disk" [ "$(grep -cE '^(steps|time|memory|disk) ' out)" -eq 4 ]
absent dry
expect 0 "train on contrasts of six" "$tricot" train run.yaml --out whole
says 'loss.negatives batch: each pair is contrasted with 5 others'
check "an evaluation every two steps, after each epoch" [ "$(wc -l <whole/validation.csv)" -eq 7 ]
check "the best weights say why" sh -c 'head -c 2000 whole/best.safetensors |
  grep -q "\"metric\":\"auroc_macro\""'
check "weights say what they were trained on" sh -c 'head -c 2000 whole/model.safetensors |
  grep -q "\"orientation\":\"LPS\"" && head -c 2000 whole/model.safetensors |
  grep -q "\"prepare\":\"size 16x16x16 "'
check "twelve steps" [ "$(wc -l <whole/log.csv)" -eq 13 ]
expect 0 "one thread, the same bits" "$tricot" train run.yaml --out one --threads 1
check "as with two" same_runs whole one
# texts at their true lengths, in rows of their own or shared: other kernels, the same training
expect 0 "short texts" "$tricot" train run.yaml --text-shapes 64,80,1x96 --out shapes
says 'texts in 1 rows of 96, shared: '
says 'texts in 2 rows of 64: '
near() { # near A B: losses to 1e-4 in every step
  cut -d, -f3 "$1/log.csv" >left
  cut -d, -f3 "$2/log.csv" >right
  paste left right | awk 'NR > 1 { d = $1 - $2; if (d * d > 1e-8) { print "differ: " $0; exit 1 } }'
}
check "the losses of padded ones" near whole shapes
expect 1 "no such shape" "$tricot" train run.yaml --text-shapes 8,x --out not
expect 0 "train on contrasts of two" "$tricot" train run.yaml --loss.negatives micro --out micro
says 'contrasted with 1 others'

if "$tricot" --help | grep -q '^  compile '; then
  expect 0 "an executable for it" "$tricot" compile run.yaml -o program
  expect 0 "trains" ./program train --cache cache --vocab data/vocab.txt --spacing 20:20 \
    --accumulate 3 --loss.negatives batch --lr 1e-3 --schedule cosine --warmup 3 --clip 1 \
    --steps 12 --seed 3 --evaluate-every epoch --out executable
  check "with the bits of the command" same_runs whole executable
  expect 1 "what it was not compiled for" ./program train --cache cache --vocab data/vocab.txt \
    --spacing 20:20 --loss.negatives micro --out not
  says 'no entry point "train_step"'
fi

# Killed at any moment, training goes on from its last checkpoint as if nothing had been. Moments are
# drawn from the time an uninterrupted run takes up to its last checkpoint but one; when the steps are
# done, the next kill hits a training that begins anew.
train_to() { # train_to OUT: becomes the training, so that a kill hits it and not a shell around it
  exec ./program train --cache cache --vocab data/vocab.txt --spacing 20:20 --accumulate 3 \
    --loss.negatives batch --lr 1e-3 --schedule cosine --warmup 3 --clip 1 --steps 12 --seed 3 \
    --evaluate-every epoch --checkpoint-every 1 --keep 0 --resume last --out "$1"
}
begin=$(date +%s%N)
(train_to timing) >timing.out 2>&1 &
process=$!
until [ -e timing/checkpoint-00000011.safetensors ] || ! kill -0 $process 2>/dev/null; do
  sleep 0.005
done
took=$((($(date +%s%N) - begin) / 1000000))
wait $process
check "uninterrupted, with a checkpoint each step" same_runs whole timing
echo "it takes $took ms up to the last checkpoint but one"
i=0
hit=0
begun=0
while [ $i -lt "$kills" ]; do
  i=$((i + 1))
  # the later the run begins, the less of it is left
  newest=$(ls killed 2>/dev/null | sed -n 's/^checkpoint-0*\([0-9]*\)\.safetensors$/\1/p' | tail -1)
  if [ "${newest:-0}" -ge 11 ]; then
    (train_to killed) 2>/dev/null
    check "kill $i: to the end, as if never killed" same_runs whole killed
    rm -rf killed
    newest=0
    begun=$((begun + 1))
  fi
  moment=$(awk -v seed=$i -v took=$took -v left=$((12 - ${newest:-0})) 'BEGIN {
    srand(seed); rand(); print rand() * took * left / 12000 }')
  (train_to killed) 2>/dev/null &
  process=$!
  sleep "$moment"
  kill -KILL $process 2>/dev/null
  wait $process 2>/dev/null
  [ $? -ne 137 ] || hit=$((hit + 1))
  for checkpoint in killed/checkpoint-*.safetensors; do
    [ ! -e "$checkpoint" ] || head -c 20000 "$checkpoint" | grep -q '"step":' ||
      fail "kill $i left $checkpoint"
  done
done
echo "$kills kills, $hit of them hit a training; $begun trainings were finished in between"
# how many, is a matter of how steady the machine is; with none the test would show nothing
check "a third of the kills hit a training, or more" [ $((3 * hit)) -ge "$kills" ]
(train_to killed) 2>/dev/null
check "as if never killed" same_runs whole killed
check "nothing half-written left" sh -c '! ls killed | grep -F .tmp.'

# ---- what is wrong is said where ----
sed 's/negatives: batch/negatives: global/' run.yaml >global.yaml
expect 1 "contrast across processes" "$tricot" train global.yaml --out not
says 'global.yaml:23:19: error: --loss.negatives: "global"'
sed '/^loss/d' run.yaml >unnamed.yaml
expect 2 "no word about negatives" "$tricot" train unnamed.yaml --out not
says '--loss.negatives is missing'
expect 1 "a rate that blows up" "$tricot" train run.yaml --accumulate 1 --batch 4 --clip 0 --lr 1e30 \
  --schedule constant --warmup 0 --out boom
says 'First tensor that is not finite: '
says '.yaml:'
says 'Volumes: train_'
check "what was before the step is saved" [ -e boom/checkpoint-00000001.safetensors ]
absent not
finish
