# The HTML report in a real browser: headless Chromium lays it out and draws it.
. "$(dirname "$0")/common.sh"
browser=
for name in chromium chromium-browser google-chrome; do
  command -v $name >/dev/null && browser=$name && break
done
[ -n "$browser" ] || skip "no Chromium to show the report with"
cd "$scratch" || exit 1
model="$models/clip-mini.yaml --variant nano --set volume=[16,32,32]"
common="--cache cache --vocab data/vocab.txt --seed 1 --out ev"
{
  "$tricot" synth --output data --train 4 --valid 10 --size 32x48x48
  "$tricot" prepare --dataset data --cache cache --size 16x32x32 --spacing 20:10.8
  printf 'step,epoch,loss,lr\n1,1,2.5,0.1\n2,1,2.25,0.1\n3,2,1.5,0.1\n' >log.csv
  for kind in zeroshot retrieval; do
    "$tricot" eval $kind $model $common --log log.csv
  done
} >out 2>err || {
  cat err
  exit 1
}
page=ev/report.html
show() { # show ARGUMENTS...: $page, offline, with a profile of its own
  HOME=$scratch "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
    --host-resolver-rules='MAP * ~NOTFOUND' "$@" "file://$scratch/$page"
}
show --dump-dom >dom 2>err || skip "$browser does not start here: $(head -n 1 err)"
count() { # count TEXT: how often the laid-out page holds it
  grep -o "$1" dom | wc -l
}
check "the page is there" grep -q '<h1>Evaluation of clip-mini, nano</h1>' dom
check "six slices" [ "$(count '<img ')" -eq 6 ]
check "as many elements as were written" [ "$(count '<path ')" -eq \
  "$(grep -o '<path ' ev/report.html | wc -l)" ]
check "curves, bars, ROC and recall" [ "$(count '<svg ')" -ge 10 ]
check "nothing ran past its section" [ "$(count '</section>')" -eq 4 ]

show --window-size=1100,3000 --screenshot="$scratch/shot.png" >out 2>err
check "a picture" [ -s shot.png ]
# a blank page of this size packs into a few KB
check "with something on it" [ "$(wc -c <shot.png)" -gt 60000 ]

# what an entry point is compiled to: the script shows one drawing and tells of a kernel
"$tricot" inspect "$models/dcformer.yaml" --variant nano --set volume=[32,64,64] \
  --html inspect.html >out 2>err || {
  cat err
  exit 1
}
page=inspect.html#view-ops
show --dump-dom >dom 2>err
check "as many boxes as were written" [ "$(count '<g class="box')" -eq \
  "$(grep -o '<g class="box' inspect.html | wc -l)" ]
check "the drawing that was asked for" grep -qE 'class="on"[^>]*>before fusion' dom
check "is shown" grep -qE '<div class="view graph" id="view-ops" data-shown' dom
check "and no other" [ "$(grep -oE '<div class="view graph" id="[a-z-]*" hidden' dom | wc -l)" -eq 3 ]
check "the first kernel is chosen" grep -qE 'id="panel"><summary><b>0</b>' dom
check "and marked" grep -qE '<g class="box [a-z]+ sel"' dom
show --window-size=1100,1600 --screenshot="$scratch/shot.png" >out 2>err
check "a picture with something on it" [ "$(wc -c <shot.png)" -gt 40000 ]
finish
