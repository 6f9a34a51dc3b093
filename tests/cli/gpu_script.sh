# bench/gpu.sh, on the driver and the NVRTC that need no device (tests/cuda_driver): its parts run,
# say what they skip, and their tables have a row for everything. The times mean nothing here.
. "$(dirname "$0")/common.sh"
fake=$TRICOT_BUILD/tests/fake_cuda
[ -e "$fake/libcuda.so.1" ] || skip "the driver for tests was not built: $fake"
export TRICOT_CUDA_DRIVER=$fake/libcuda.so.1 TRICOT_NVRTC=$fake FAKE_NVRTC_CACHE=$scratch
export OUT=$scratch/gpu FAKE_CUDA_MEMORY=8000000000 TRICOT_BUILD TRICOT_SHARED
export SIZE=32,64,64 BATCH=2 RUNS=1 VARIANTS=nano LEAN=nano:20M PYTHON=no-python
export CLIP="--set text.layers=1 --set text.width=16 --set text.heads=2 --set text.hidden=16
 --set text.length=16 --set text.positions=16"
script=$TRICOT_SOURCE/bench/gpu.sh
expect 77 "no driver" env TRICOT_CUDA_DRIVER=nothing.so.1 "$script" own
check "with a reason" grep -q '^skipped: .*there is no CUDA driver' "$scratch/out"
expect 77 "no PyTorch" "$script" peers
check "with a reason" grep -q '^skipped: no-python has no PyTorch' "$scratch/out"
expect 2 "no part" "$script"
expect 0 "own" "$script" own
for name in nano-forward nano-training nano-training-lean clip-nano-training; do
  check "$name: a row of numbers" \
    grep -qE "^\| $name \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [1-9][0-9]* \|" "$scratch/out"
  check "$name: five steps" [ "$(grep -cE "^\| $name \| [0-9]+ k[0-9]+_" "$scratch/out")" -eq 5 ]
done
check "the device" grep -q '^- Fake 0, driver ' "$scratch/out"
if [ -e "$nano_expected" ]; then
  expect 0 "reference values" "$script" goldens
  check "four scripts" [ "$(grep -c ' 0 failed$' "$scratch/out")" -eq 4 ]
fi
finish
