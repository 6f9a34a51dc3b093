# Sourced by the test scripts of the command: where things are, a scratch folder, counting failures.
#
# CTest sets TRICOT_BUILD (folder of the programs) and TRICOT_SOURCE. Reference values and data are
# at TRICOT_SHARED, beside the source folder if that is not set; they may be absent. Status 77
# means skipped; the reason is printed.
set -u
: "${TRICOT_SHARED:=$TRICOT_SOURCE/../shared}"
tricot=$TRICOT_BUILD/tricot
models=$TRICOT_SOURCE/models
goldens=$TRICOT_SHARED/goldens
data=$TRICOT_SHARED/data
clip=$models/clip-dcformer.yaml

scratch=$(mktemp -d "${TMPDIR:-/tmp}/tricot-cli-XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
failures=0
checks=0

# The sizes of the clip-dcformer-nano reference values; more settings follow as arguments.
nano="--variant nano --set volume=[32,64,64] --set text.vocab=1024 --set text.width=64
 --set text.layers=2 --set text.heads=4 --set text.hidden=256 --set text.positions=64
 --set text.length=24"
nano_files="--weights $goldens/clip-dcformer-nano.weights.safetensors
 --inputs $goldens/clip-dcformer-nano.inputs.safetensors"
nano_expected=$goldens/clip-dcformer-nano.expected.safetensors
# Parameters whose gradient is zero in exact arithmetic: an optimizer turns noise into steps.
zero_gradient='\.c[123]\.0\.bias|key\.bias'

# The model of the clip-dcformer-nano reference values on $target.
run_nano() { # run_nano OUTPUT ARGUMENTS...
  out=$scratch/$1
  shift
  "$tricot" run "$clip" $nano --set batch=3 --set optimizer.lr=1e-3 $nano_files \
    --target "$target" --outputs "$out" "$@"
}

skip() {
  echo "skipped: $*"
  exit 77
}

need() { # need FILE: skips the test without it
  [ -e "$1" ] || skip "no reference values or data at $1 (set TRICOT_SHARED)"
}

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

check() { # check LABEL COMMAND...: the command must succeed; its output is shown
  label=$1
  shift
  checks=$((checks + 1))
  echo "-- $label"
  "$@" || fail "$label: status $?: $*"
}

# expect STATUS LABEL COMMAND...: that very exit status; output goes to out and err in $scratch
expect() {
  status=$1 label=$2
  shift 2
  checks=$((checks + 1))
  echo "-- $label"
  "$@" >"$scratch/out" 2>"$scratch/err"
  got=$?
  if [ $got -ne "$status" ]; then
    fail "$label: status $got, expected $status: $*"
    head -n 5 "$scratch/out" "$scratch/err"
  fi
}

says() { # says TEXT: the last expect's messages hold it
  checks=$((checks + 1))
  grep -qF -e "$1" "$scratch/err" || {
    fail "no '$1' among the messages:"
    cat "$scratch/err"
  }
}

absent() { # absent PATH: nothing is there, and no temporary beside it
  checks=$((checks + 1))
  for left in "$1"*; do
    [ ! -e "$left" ] || fail "left behind: $left"
  done
}

compare() {
  "$TRICOT_BUILD/tests/compare" "$@"
}

compare_json() {
  "$TRICOT_BUILD/tests/compare_json" "$@"
}

has_verb() {
  "$tricot" --help | grep -q "^  $1 "
}

finish() {
  echo "$checks checks, $failures failed"
  [ $checks -gt 0 ] && [ $failures -eq 0 ]
  exit
}
