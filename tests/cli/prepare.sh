# prepare with settings from model and run files, presets and flags; volumes that are not in HU.
. "$(dirname "$0")/common.sh"
need "$data/ctrate-mini/dataset"
scan=$data/ctrate-mini/dataset/valid/valid_1/valid_1_a/valid_1_a_1.nii.gz
cd "$scratch" || exit 1
small="--set volume=[20,24,28]"
one() { # one OUTPUT ARGUMENTS...
  out=$1
  shift
  "$tricot" prepare "$@" --volume "$scan" --output "$out"
}
check "a model's settings" one model "$clip" $small --set prepare.preset=ct-clip \
  --set 'prepare.spacing=[6,3]' --set prepare.orientation=RAS
check "the same as flags" one flags --preset ct-clip --size 20x24x28 --spacing 6:3 \
  --orientation RAS
check "the same file" cmp model flags
cat >run.yaml <<END
run: settings
model: $clip
batch: 4
set:
  volume: "[20, 24, 28]"
  prepare.preset: '"ct-clip"'
  prepare.spacing: "[6, 3]"
  prepare.orientation: '"RAS"'
END
check "a run file's settings" one run run.yaml
check "the same file again" cmp model run
check "a flag wins over the model" one wins run.yaml --spacing 9:3
check "and differs" sh -c '! cmp -s model wins'

# ---- wrong settings are located, or named ----
expect 1 "no such preset" one none "$clip" --set prepare.preset=lung
says 'error: the presets are dcformer and ct-clip'
expect 1 "no such setting" one none "$clip" --set prepare.colour=red
says "prepare.colour"
expect 1 "a spacing of one number" one none "$clip" --set 'prepare.spacing=[1]'
says 'prepare.spacing: error: [1] is not mm along z, x, y'
expect 1 "no such preset by flag" one none --preset lung
says '--preset: error: '
expect 2 "a wrong flag" one none --window 5:1
says '--window: "5:1" is not understood'
expect 2 "settings of no model" one none --set prepare.gate=off
check "nothing was written" [ ! -e none ]

# ---- rescaled twice ----
cat >rows.csv <<END
VolumeName,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing
valid_1_a_1.nii.gz,1,-1024,"[0.9765625, 0.9765625]",3
END
expect 1 "a volume in HU that is rescaled again" one none --size 20x24x28 --metadata rows.csv
says 'valid_1_a_1.nii.gz: error: looks rescaled twice'
expect 0 "only warned of" one warned --size 20x24x28 --metadata rows.csv --gate warn
says 'valid_1_a_1.nii.gz: warning: looks rescaled twice'
check "the header's rescale instead" one header --size 20x24x28 --metadata rows.csv \
  --rescale header
finish
