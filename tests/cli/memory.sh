#!/bin/sh
# The memory plan as `--dump memory` prints it: one small plan to the letter, and no two tensors of a
# training step in one place at one time. (That programs compute the right values in these places is
# what every other test shows.)
. "$(dirname "$0")/common.sh"

here=$(cd "$(dirname "$0")" && pwd)
cd "$TRICOT_SOURCE" || exit 1 # places are printed as given

dump() { # dump OUT MODEL ARGUMENTS...
  out=$1
  shift
  "$tricot" compile "$@" --emit graph --dump memory --target cuda:sm_80 -o "$scratch/graph" >"$out"
}

check "a small plan" dump "$scratch/small" tests/models/clip_head.yaml --set rows=4 --set width=8 --skip join
if [ -n "${TRICOT_BLESS-}" ]; then cp "$scratch/small" "$here/memory.txt"; fi
check "the small plan to the letter" diff "$here/memory.txt" "$scratch/small"

# The heading's sizes hold, offsets are aligned, and no two lines overlap in space and in steps.
cat >"$scratch/overlaps.awk" <<'END'
/^# .* bytes for/ { start = NR; count = 0; arena = $0; sub(/.*: /, "", arena); arena += 0; next }
/^#/ { next }
{
  if ($1 % 64 || $1 + $2 > arena) { print "outside or unaligned: " $0; bad = 1 }
  first = $3; last = $4 == "end" ? 2 ^ 30 : $4
  for (i = 0; i < count; i++)
    if ($1 < to[i] && from[i] < $1 + $2 && first <= until[i] && since[i] <= last) {
      print "overlaps line " i + start + 2 ": " $0; bad = 1
    }
  from[count] = $1; to[count] = $1 + $2; since[count] = first; until[count] = last; count++
  lines++
}
END { if (lines < 100) { print "only " lines " lines"; bad = 1 } exit bad }
END
# shellcheck disable=SC2086
check "the plan of a training step" dump "$scratch/step" "$clip" $nano --set batch=3
check "no overlaps" awk -f "$scratch/overlaps.awk" "$scratch/step"
check "the check sees overlaps" sh -c \
  'sed "s/^ *[0-9]* \( *[0-9]* *-*[0-9]* *[0-9end]*  %\)/           0 \1/" "$1" |
   awk -f "$2" >/dev/null; [ $? -eq 1 ]' - "$scratch/step" "$scratch/overlaps.awk"
finish
