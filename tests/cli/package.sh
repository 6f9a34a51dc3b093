# Compiled models with code for CUDA devices, on the driver and the NVRTC that need no device
# (tests/cuda_driver): what is inside, which part runs on which device, that training gives what
# `tricot train` gives to the bit, and what is said where no part fits. Without LLVM there are no
# parts for processors. Where there is a real NVRTC, its code is linked too.
. "$(dirname "$0")/common.sh"
fake=$TRICOT_BUILD/tests/fake_cuda
[ -e "$fake/libcuda.so.1" ] || skip "the driver for tests was not built: $fake"
cd "$scratch" || exit 1
device() { # device CAPABILITY COMMAND...: on a machine with such a device
  capability=$1
  shift
  env TRICOT_CUDA_DRIVER="$fake/libcuda.so.1" FAKE_CUDA_CAPABILITY="$capability" "$@"
}
bare() { # bare COMMAND...: without a driver
  env TRICOT_CUDA_DRIVER=nothing.so.1 "$@"
}
fake_compile() { # fake_compile ARGUMENTS...
  env TRICOT_NVRTC="$fake" FAKE_NVRTC_CACHE="$scratch" "$tricot" compile "$@"
}
cpu=
if grep -q '^TRICOT_LLVM:BOOL=ON' "$TRICOT_BUILD/CMakeCache.txt"; then
  case $(uname -m) in
  x86_64) cpu=cpu:x86-64-v3 ;;
  aarch64) cpu=cpu:aarch64 ;;
  esac
fi
clip_settings="--variant nano --set volume=[16,16,16] --set latent=16 --set text.length=16
 --set text.positions=16 --set text.width=16 --set text.layers=1 --set text.heads=2
 --set text.hidden=32"
both=cuda:sm_80,cuda:sm_90a${cpu:+,$cpu}

# ---- what is inside ----
expect 0 "compiled" fake_compile "$clip" $clip_settings --set batch=2 --target "$both" -o model
expect 0 "info" bare ./model info
for part in $(echo "$both,cuda:compute_80" | tr , ' '); do
  check "$part is listed" grep -qE "^(code)? *$part, [0-9.]+ [KM]iB" out
done
expect 0 "info as JSON" bare ./model info --json
check "with the parts" [ "$(grep -o '{"target": "c[a-z0-9_:-]*", "bytes": [1-9][0-9]*}' out |
  wc -l)" -eq "$(echo "$both,last" | tr , '\n' | wc -l)" ]
needs_c_alone() { # needs_c_alone FILE: of libraries; those of sanitizers apart
  known='linux-vdso|lib(c|m)\.so|ld-linux'
  ldd "$1" | grep -q libasan && known="$known|lib(asan|ubsan|stdc\+\+|gcc_s)\.so"
  ! ldd "$1" | grep -vE "$known"
}
check "of libraries it needs C's alone" needs_c_alone ./model
[ -n "$cpu" ] || check "as the command itself does" needs_c_alone "$tricot"

# ---- which part runs ----
bench="bench --entry encode_image --repeat 1 --whole"
takes() { # takes CAPABILITY WORDS
  expect 0 "a device of $1" device "$1" ./model $bench --target cuda
  says "$2"
}
takes 80 'model: runs on cuda:0 (Fake 0), its code for sm_80'
takes 89 'its code for sm_80'
takes 90 'its code for sm_90a'
takes 120 'its code for compute_80, compiled by the driver'
expect 1 "an older device" device 75 ./model $bench --target cuda
says 'error: Fake 0 is sm_75, this program has code for sm_80, sm_90a, compute_80'
expect 0 "auto with a device" device 80 ./model $bench --target auto
says 'runs on cuda:0 (Fake 0)'
expect 1 "no driver" bare ./model $bench --target cuda:0
says 'error: there is no CUDA driver on this machine (nothing.so.1 cannot be opened)'
check "in one line" [ "$(wc -l <err)" -eq 1 ]
expect 1 "no such target" ./model $bench --target gpu
says 'unknown target (cpu, cpu:LEVEL, cuda, cuda:NUMBER or auto)'
if [ -n "$cpu" ] && grep -qE 'avx2|asimd' /proc/cpuinfo; then
  expect 0 "auto without a driver" bare ./model $bench --target auto
  says "model: runs on $cpu: there is no CUDA driver on this machine"
  expect 0 "auto with an older device" device 75 ./model $bench --target auto
  says "runs on $cpu: "
  expect 0 "the processor, without being asked" device 80 ./model $bench
  check "nothing to say" [ ! -s err ]
fi

# ---- results ----
check "made-up data" "$tricot" synth --output data --train 6 --valid 2 --size 16x16x16 --seed 5
check "prepared" "$tricot" prepare --dataset data --cache cache --size 16x16x16 --spacing 20:20
job="--cache cache --vocab data/vocab.txt --spacing 20:20 --lr 1e-3 --seed 3
 --loss.negatives micro --steps 3"
same() { # same A B: runs
  cut -d, -f1-5 "$1/log.csv" >left
  cut -d, -f1-5 "$2/log.csv" >right
  cmp left right && cmp "$1/model.safetensors" "$2/model.safetensors"
}
expect 0 "over the shim" "$tricot" train "$clip" $clip_settings --batch 2 $job --target cuda-shim \
  --out shim
expect 0 "as compiled" device 80 ./model train $job --target cuda --out device
check "the same training" same shim device
expect 0 "as PTX" device 120 ./model train $job --target cuda --out ptx
check "the same training" same shim ptx
if [ -n "$cpu" ] && grep -qE 'avx2|asimd' /proc/cpuinfo; then
  expect 0 "on this processor" "$tricot" train "$clip" $clip_settings --batch 2 $job \
    --target "$cpu" --out processor
  expect 0 "as compiled" bare ./model train $job --target auto --out auto
  check "the same training" same processor auto
fi

# ---- code for devices alone, and libraries ----
expect 0 "for devices alone" fake_compile "$clip" $clip_settings --set batch=2 --mode infer \
  --target cuda:sm_80 -o alone
expect 0 "they are its default" device 80 ./alone $bench
says 'alone: runs on cuda:0 (Fake 0), its code for sm_80'
expect 1 "no other is taken" bare ./alone $bench
says 'there is no CUDA driver'
expect 1 "not even by auto" bare ./alone $bench --target auto
says 'there is no CUDA driver'
expect 1 "it has none for processors" ./alone $bench --target cpu
says 'this program was built for: cuda:sm_80, cuda:compute_80'
expect 0 "without a device it says what is inside" bare ./alone info
expect 0 "a library" fake_compile "$clip" $clip_settings --set batch=2 --mode infer \
  --target cuda:sm_80 --emit shared -o alone.so
cat >use.c <<'END'
#include "alone.h"
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
  char why[512];
  tricot_type type;
  tricot_model *m = tricot_open_on(argv[1], argv[2], 1, why, sizeof why);
  float *volume = m && argc == 3 ? tricot_input(m, "encode_image", "volume") : NULL;
  if (!volume || !tricot_tensor_type(m, "encode_image", "volume", &type)) return puts(why), 1;
  for (size_t i = 0; i < type.bytes / sizeof *volume; i++) volume[i] = (float)(i * 7 % 13) / 13;
  if (!tricot_run(m, "encode_image", why, sizeof why)) return puts(why), 1;
  puts(tricot_where(m));
  const float *latents = tricot_output(m, "encode_image", "image_latents");
  for (int i = 0; i < 16; i++) printf("%.9g\n", (double)latents[i]);
  tricot_close(m);
  return 0;
}
END
flags=
if ldd ./model | grep -q libasan; then flags=-fsanitize=address,undefined; fi
check "linked" ${CC:-cc} $flags -o use use.c ./alone.so
weights=shim/model.safetensors
expect 0 "used" device 80 ./use cuda $weights
check "on the device" grep -qx 'cuda:0 (Fake 0), its code for sm_80' out
cp out first
expect 0 "used on another" device 100 ./use auto $weights
check "the same numbers" sh -c 'tail -n 16 first >left && tail -n 16 out | cmp left -'
check "numbers that differ" [ "$(tail -n 16 first | sort -u | wc -l)" -gt 10 ]
expect 1 "used without a driver" bare ./use cuda $weights
check "and it says why" grep -q 'there is no CUDA driver' out

# ---- what cannot be built ----
refused() { # refused LABEL MESSAGE ARGUMENTS...
  label=$1 message=$2
  shift 2
  expect 1 "$label" "$@" -o none
  says "$message"
  absent none
}
small="$models/dcformer.yaml --variant nano --set volume=[32,32,32] --mode infer"
refused "no architecture" 'for which architecture? (--target cuda:sm_80,cpu)' \
  fake_compile $small --target cuda
refused "no such architecture" 'sm_8' fake_compile $small --target cuda:sm_8
refused "not for programs" 'executables and libraries are for cpu and cuda' \
  fake_compile $small --target cuda:sm_80,cuda-shim
refused "no NVRTC" 'there is no NVRTC at nowhere (TRICOT_NVRTC)' \
  env TRICOT_NVRTC=nowhere "$tricot" compile $small --target cuda:sm_80

# ---- real code ----
if "$tricot" compile $small --target cuda:sm_80,cuda:sm_90a -o real 2>err; then
  check "no warnings" [ ! -s err ]
  expect 0 "what is inside" ./real info
  check "real code" grep -qE 'cuda:sm_90a, [0-9.]+ KiB' out
  expect 1 "which this driver cannot load" device 80 ./real $bench
  says 'loading code for sm_80 on Fake 0: CUDA_ERROR'
else
  echo "code of the real NVRTC is left out: $(cat err)"
  absent real
fi
finish
