# The target cuda, on a driver and an NVRTC that need no device (tests/cuda_driver): results are those
# of the target cuda-shim to the bit, in a forward pass, in gradients and over training that is
# stopped, killed and resumed; nothing is allocated per step; what is missing or goes wrong is said
# in a line.
. "$(dirname "$0")/common.sh"
fake=$TRICOT_BUILD/tests/fake_cuda
[ -e "$fake/libcuda.so.1" ] || skip "the driver for tests was not built: $fake"
export TRICOT_CUDA_DRIVER=$fake/libcuda.so.1 LD_LIBRARY_PATH=$fake FAKE_NVRTC_CACHE=$scratch
cd "$scratch" || exit 1
calls() { # calls FUNCTION LOG
  sed -n "s/^$1 //p" "$2" | grep . || echo 0
}

# ---- training ----
check "made-up data" "$tricot" synth --output data --train 6 --valid 2 --size 16x16x16 --seed 5
check "prepared" "$tricot" prepare --dataset data --cache cache --size 16x16x16 --spacing 20:20
small="$clip --variant nano --set volume=[16,16,16] --set latent=16 --set text.length=16
 --set text.positions=16 --set text.width=16 --set text.layers=1 --set text.heads=2
 --set text.hidden=32 --batch 2"
train() { # train OUT ARGUMENTS...
  out=$1
  shift
  "$tricot" train $small --cache cache --vocab data/vocab.txt --spacing 20:20 --lr 1e-3 \
    --seed 3 --loss.negatives micro --checkpoint-every 1 --keep 0 --out "$out" "$@"
}
same() { # same A B: runs
  cut -d, -f1-5 "$1/log.csv" >left
  cut -d, -f1-5 "$2/log.csv" >right
  cmp left right && cmp "$1/model.safetensors" "$2/model.safetensors"
}
expect 0 "over the shim" train shim --target cuda-shim --steps 4
FAKE_CUDA_LOG=four train device --target cuda --steps 4 >out 2>err || fail "training: $(cat err)"
check "the same training" same shim device
FAKE_CUDA_LOG=two train half --target cuda:0 --steps 2 >out 2>err || fail "training: $(cat err)"
for function in cuMemAlloc_v2 cuMemHostAlloc cuStreamCreate cuEventCreate cuModuleLoadDataEx \
  cuGraphInstantiateWithFlags; do
  check "as many calls of $function for two steps as for four" \
    [ "$(calls $function two)" -eq "$(calls $function four)" ]
done
check "a graph replayed a step on each side of the guard" \
  [ $(($(calls cuGraphLaunch four) - $(calls cuGraphLaunch two))) -eq 4 ]
check "inputs of all steps but the first are sent while another runs" \
  [ "$(calls cuStreamWaitEvent four) $(calls cuStreamWaitEvent two)" = "3 1" ]
check "no launches but for graphs" [ "$(calls cuLaunchKernel two)" -eq "$(calls cuLaunchKernel four)" ]
check "all memory given back" [ "$(calls left_behind four)" -eq 0 ]
expect 0 "resumed" train half --target cuda --steps 4 --resume last
check "as if never stopped" same shim half
(FAKE_CUDA_LOG=none train killed --target cuda --steps 4) >/dev/null 2>&1 &
process=$!
until [ -e killed/checkpoint-00000001.safetensors ] || ! kill -0 $process 2>/dev/null; do
  sleep 0.01
done
kill -KILL $process 2>/dev/null
wait $process 2>/dev/null
expect 0 "after a kill" train killed --target cuda --steps 4 --resume last
check "as if never killed" same shim killed
for target in cuda-shim cuda; do # the inputs looked at are those of the step, not those sent ahead
  expect 1 "a loss that is not finite, $target" train wild-$target --target $target --steps 4 --lr 1e38
  says 'First tensor that is not finite'
  sed "s/wild-$target//" err | grep 'is not finite' >wild.$target
done
check "the same trouble" cmp wild.cuda-shim wild.cuda
expect 1 "a kernel fails" env FAKE_CUDA_FAIL=k20_ "$tricot" train $small --cache cache \
  --vocab data/vocab.txt --spacing 20:20 --loss.negatives micro --target cuda --steps 2 --out failed
says 'entry point train_step on Fake 0: CUDA_ERROR_LAUNCH_FAILED'

# ---- timing ----
bench="bench $small --entry train_step --repeat 2 --target cuda"
expect 0 "bench" "$tricot" $bench --json --trace trace.json
steps=$(grep -o '"step": [0-9]*' out | wc -l)
check "every step has a time" [ "$(grep -o '"seconds": [0-9.e-]*[1-9]' out | wc -l)" -eq "$steps" ]
for rate in memory_copy_bytes fma_flops bf16_flops; do
  check "of a device that was measured: $rate" \
    grep -q '"device": "Fake 0".*"'$rate'_per_second": [1-9]' out
done
check "many steps" [ "$steps" -gt 100 ]
expect 0 "bench without joined launches" "$tricot" $bench --json --skip join
check "several times as many steps" [ "$(grep -c '"step": ' out)" -gt $((3 * steps)) ]
check "the timeline is JSON" compare_json trace.json trace.json
check "three runs of every step" \
  [ "$(grep -cE '"cat": "(kernel|copy)"' trace.json)" -eq $((3 * steps)) ]

expect 0 "inputs stay" env FAKE_CUDA_LOG=held "$tricot" $bench --whole --resident
expect 0 "inputs are copied" env FAKE_CUDA_LOG=copied "$tricot" $bench --whole
check "five inputs for each of the two runs after the first" [ $(($(calls cuMemcpyHtoDAsync_v2 copied) -
  $(calls cuMemcpyHtoDAsync_v2 held))) -eq 10 ]

# ---- what is missing ----
none="$bench --whole"
expect 1 "no device" env FAKE_CUDA_DEVICES=0 "$tricot" $none
says 'error: the CUDA driver finds no device'
check "in one line" [ "$(wc -l <err)" -eq 1 ]
expect 1 "the library for linking" env FAKE_CUDA_DEVICES=stub "$tricot" $none
says 'is the library to link against, not a CUDA driver'
expect 1 "no driver" env TRICOT_CUDA_DRIVER=nothing.so.1 "$tricot" $none
says 'there is no CUDA driver on this machine (nothing.so.1 cannot be opened)'
expect 1 "no such device" "$tricot" bench $small --entry train_step --target cuda:1
says 'there is no CUDA device 1; this machine has 1, from number 0'
expect 0 "the second of two" env FAKE_CUDA_DEVICES=2 "$tricot" bench $small --entry train_step \
  --target cuda:1 --whole --repeat 1
expect 1 "too little memory" env FAKE_CUDA_MEMORY=500000 "$tricot" $none
says 'has 488.3 KiB free'
says 'at the peak of train_step:'
check "with its line" grep -q '^  .*KiB  .* : .*yaml:[0-9]' err

# ---- reference values ----
need "$nano_expected"
for target in cuda-shim cuda; do
  run_nano forward-$target --entry forward || fail "forward on $target"
  run_nano step-$target --entry train_step --steps 2 --save-taps --save-grads --save-params ||
    fail "train_step on $target"
done
check "a forward pass" cmp forward-cuda-shim forward-cuda
check "gradients and weights" cmp step-cuda-shim step-cuda
finish
