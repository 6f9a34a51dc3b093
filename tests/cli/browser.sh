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
show() { # show ARGUMENTS...: offline, with a profile of its own
  HOME=$scratch "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$scratch/profile" \
    --host-resolver-rules='MAP * ~NOTFOUND' "$@" "file://$scratch/ev/report.html"
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
finish
