# Results are the same bits whatever the number of threads, and from run to run.
. "$(dirname "$0")/common.sh"
need "$nano_expected"

run() { # run OUTPUT ARGUMENTS...
  out=$scratch/$1
  shift
  "$tricot" run "$clip" $nano --set batch=3 --set optimizer.lr=1e-3 $nano_files --outputs "$out" \
    "$@"
}

for threads in 1 2 4 2again; do
  check "forward, threads: $threads" run forward$threads --entry forward --threads ${threads%again}
  check "training forward, threads: $threads" run training$threads --entry forward --mode train \
    --save-buffers --threads ${threads%again}
  check "three steps, threads: $threads" run steps$threads --entry train_step --steps 3 \
    --save-taps --save-grads --save-params --threads ${threads%again}
done
for threads in 2 4 2again; do
  for what in forward training steps; do
    check "$what: threads 1 and $threads" cmp "$scratch/${what}1" "$scratch/$what$threads"
  done
done
finish
