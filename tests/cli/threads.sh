# Results are the same bits whatever the number of threads, and from run to run.
. "$(dirname "$0")/common.sh"
need "$nano_expected"

run() { # run OUTPUT ARGUMENTS...
  out=$scratch/$1
  shift
  "$tricot" run "$clip" $nano --set batch=3 --set optimizer.lr=1e-3 $nano_files --outputs "$out" \
    "$@"
}

for threads in 1 2 4; do
  check "forward, threads: $threads" run forward$threads --entry forward --threads $threads
  check "training forward, threads: $threads" run training$threads --entry forward --mode train \
    --save-buffers --threads $threads
  check "three steps, threads: $threads" run steps$threads --entry train_step --steps 3 \
    --save-taps --save-grads --save-params --threads $threads
done
check "forward again" run forwardagain --entry forward --threads 2
check "training forward again" run trainingagain --entry forward --mode train --save-buffers \
  --threads 2
for other in 2 4 again; do
  for what in forward training; do
    check "$what: threads 1 and $other" cmp "$scratch/${what}1" "$scratch/$what$other"
  done
done
for other in 2 4; do
  check "three steps: threads 1 and $other" cmp "$scratch/steps1" "$scratch/steps$other"
done
finish
