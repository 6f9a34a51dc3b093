# One hundred training steps over twelve samples follow the reference's losses.
. "$(dirname "$0")/common.sh"
need "$goldens/trajectory.expected.safetensors"

check "100 steps" "$tricot" run "$clip" $nano --set batch=4 --set optimizer.lr=1e-4 \
  --weights "$goldens/clip-dcformer-nano.weights.safetensors" \
  --inputs "$goldens/trajectory.inputs.safetensors" --entry train_step --steps 100 \
  --outputs "$scratch/losses"
follows() { # follows FIRST:END LIMIT
  check "steps $1 within $2" compare "$goldens/trajectory.expected.safetensors" "$scratch/losses" \
    --series "$1" --output-prefix step%d.loss --max-abs "$2"
}
follows 0:10 1e-5
follows 10:30 1e-4
follows 30:100 5e-3
finish
