# `prepare --dataset` under faults: killed at random moments, disk full, unreadable and changing
# sources, a second preparation at the same time. Argument: how many kills (default 4).
#
# After each kill the cache either is whole or says that it is not; every file in it is whole; and
# repeating the command gives, byte for byte, the cache of an uninterrupted run.
. "$(dirname "$0")/common.sh"
kills=${1:-4}
cd "$scratch" || exit 1
check "make a data set" "$tricot" synth --output tree --train 7 --valid 3 --size 48x64x64
settings="prepare --dataset tree --size 40x64x64 --spacing 5:2.7"
prepare() { # prepare CACHE ARGUMENTS...
  cache=$1
  shift
  "$tricot" $settings --cache "$cache" "$@"
}
same() { # same CACHE CACHE: the same files with the same bytes
  diff -r --exclude=.lock "$1" "$2"
}
expect 0 "prepare, uninterrupted" prepare whole
says '10 volumes prepared, 0 kept, 0 left out'
check "a row for each finding and two of volumes" [ "$(wc -l <whole/summary.csv)" -eq 21 ]
expect 0 "it is whole" "$tricot" prepare --cache whole --verify
says '10 volumes, all whole'
expect 0 "one volume at a time" prepare single --jobs 1
check "the number of jobs does not matter" same whole single
expect 0 "first one split" prepare parts --split valid
expect 0 "then the other" prepare parts --split train
check "the order of splits does not matter" same whole parts

# ---- kill -9 ----
whole_so_far() { # whole_so_far CACHE: every volume there equals the uninterrupted one
  find "$1" -name '*.tvol' 2>/dev/null | while read -r file; do
    cmp "$file" "whole/${file#*/}" || exit 1
  done
}
judge() { # judge CACHE: whole, or incomplete and saying so
  checks=$((checks + 1))
  if "$tricot" prepare --cache "$1" --verify >out 2>err; then
    same whole "$1" || fail "$1 passes for whole and is not"
  else
    grep -q -e 'the cache is incomplete: ' -e 'manifest.json: error: is not there' err ||
      fail "$1: $(cat err)"
  fi
}
begin=$(date +%s%N)
prepare timing >out 2>&1
took=$((($(date +%s%N) - begin) / 1000000))
echo "an uninterrupted run takes $took ms"
count=0
stopped=0
while [ $count -lt "$kills" ]; do
  count=$((count + 1))
  rm -rf killed
  # one moment in [0, took), or two for every third kill: then the resumed run is killed as well
  moments=$(awk -v seed=$count -v took="$took" 'BEGIN {
    srand(seed); rand()
    for (n = seed % 3 == 0 ? 2 : 1; n > 0; n--) printf "%.4f ", rand() * took / 1000 }')
  for moment in $moments; do
    "$tricot" $settings --cache killed --jobs 2 >out 2>&1 & # itself, not a shell around it
    process=$!
    sleep "$moment"
    kill -9 $process 2>/dev/null
    wait $process 2>/dev/null
    [ $? -ne 137 ] || stopped=$((stopped + 1))
    check "killed after $moment s: files are whole" whole_so_far killed
    judge killed
  done
  expect 0 "resume" prepare killed
  check "the same cache" same whole killed
done
echo "$stopped runs were stopped by the kill"
check "kills hit running preparations" [ $stopped -gt 0 ]

# a whole cache that is prepared again with other settings is incomplete until that is done
cp -r whole again
"$tricot" $settings --cache again --clip -900:1000 >out 2>&1 &
process=$!
tries=0
until grep -q '"complete": false' again/manifest.json || [ $tries -gt 500 ]; do
  tries=$((tries + 1))
  sleep 0.002
done
kill -9 $process 2>/dev/null
wait $process 2>/dev/null
if grep -q '"complete": false' again/manifest.json; then
  expect 1 "killed in a change of settings" "$tricot" prepare --cache again --verify
  says 'again: error: the cache is incomplete: '
else
  echo "the change of settings was over before it was seen"
fi
expect 0 "back to the first settings" prepare again
check "the same cache" same whole again

# ---- damage ----
cp -r whole damaged
victim=damaged/train/train_3_a_1.tvol
printf 'xyz' | dd of=$victim bs=1 seek=2000 conv=notrunc 2>dd.err
expect 1 "a damaged file" "$tricot" prepare --cache damaged --verify
says "$victim: error: block 1 of "
says '1 of 10 volumes are damaged'
expect 0 "make it again" prepare damaged --verify
says '1 volumes prepared, 9 kept'
check "the same cache" same whole damaged
truncate -s 1000 $victim
expect 1 "a file cut short" "$tricot" prepare --cache damaged --verify
says "$victim: error: "
rm $victim
expect 1 "a file that is gone" "$tricot" prepare --cache damaged --verify
says 'the files of 1 of 10 volumes are not there (train_3_a_1.nii.gz)'
expect 0 "make it again" prepare damaged
check "the same cache" same whole damaged
sed 's/"version": 2/"version": 1/' whole/manifest.json >damaged/manifest.json
expect 1 "a cache of an older version" prepare damaged
says 'damaged/manifest.json: error: the cache is of version 1, this program reads version 2'

# ---- disk full ----
full() { # full LABEL CACHE REASON COMMAND...: fails with the file's name, leaves whole files only
  label=$1 cache=$2 reason=$3
  shift 3
  expect 1 "$label" "$@"
  says "$cache/"
  says ": error: cannot be written: $reason"
  check "$label: no temporaries" [ -z "$(find "$cache" -name '*.tmp.*')" ]
  check "$label: files are whole" whole_so_far "$cache"
  judge "$cache"
}
limited() { # a file may not grow beyond 20 KiB
  (
    trap '' XFSZ
    ulimit -f 40
    prepare limited --jobs 2
  )
}
full "a limit on file sizes" limited "File too large" limited
expect 0 "without it" prepare limited
check "the same cache" same whole limited
mkdir disk
if mount -t tmpfs -o size=400k none disk 2>mount.err; then
  trap 'umount "$scratch/disk" 2>/dev/null; rm -rf "$scratch"' EXIT
  full "a full disk" disk "No space left on device" prepare disk
  mount -o remount,size=100m disk
  expect 0 "with room" prepare disk
  check "the same cache" same whole disk
  umount disk
else
  echo "no small file system could be mounted, so none was filled: $(cat mount.err)"
fi

# ---- sources ----
folder=tree/dataset/train/train_1/train_1_a
mkdir $folder/train_90_a_1.nii.gz
ln -s nowhere $folder/train_91_a_1.nii.gz
expect 1 "files that are none" prepare sources
says '2 of 9 volumes cannot be used: 2 volumes cannot be read (train_90_a_1.nii.gz, '
expect 0 "leave them out" prepare sources --skip-incomplete
says '2 volumes cannot be read (train_90_a_1.nii.gz, train_91_a_1.nii.gz)'
says '10 volumes prepared, 0 kept, 0 left out'
check "the same cache" same whole sources
rm -r $folder/train_90_a_1.nii.gz $folder/train_91_a_1.nii.gz
source=tree/dataset/train/train_2/train_2_a/train_2_a_1.nii.gz
cp -p $source original
truncate -s 5000 $source
expect 1 "a source cut short" prepare short
says "$source: error: "
says '1 of 10 volumes could not be prepared'
expect 0 "leave it out" prepare short --skip-incomplete
says '0 volumes prepared, 9 kept, 1 left out'
cp -p original $source
expect 0 "the source is back" prepare short
check "the same cache" same whole short

# a source that changes, or shrinks, while it is read: large enough to be caught
check "one large volume" "$tricot" synth --output large --train 1 --valid 1 --size 160x256x256
volume=large/dataset/train/train_1/train_1_a/train_1_a_1.nii.gz
cp -p $volume original
disturb() { # disturb COMMAND: in the background until `calm`
  while [ ! -e calm ]; do
    eval "$1"
  done &
}
changing() { # changing COMMAND MESSAGE: prepares while the command is repeated
  rm -f calm
  disturb "$1"
  expect 1 "$1, while it is read" "$tricot" prepare --dataset large --split train --cache moved \
    --size 40x64x64
  touch calm
  wait
  says "$volume: error: $2"
  expect 1 "nothing came of it" "$tricot" prepare --cache moved --verify
  says 'moved: error: the cache is incomplete: 0 of 1 volumes are prepared'
}
changing "touch $volume" "the file changed while it was read"
# short for so long at times that it is found short, and not changed
changing "truncate -s 100000 $volume; cat original >$volume" ""

# ---- two at a time ----
if command -v flock >/dev/null; then
  exec 9>>whole/.lock
  flock --shared 9
  expect 1 "while another program prepares into it" prepare whole
  says 'whole: error: another program is preparing volumes in this cache'
  exec 9>&-
  expect 0 "afterwards" prepare whole
fi
finish
