#!/bin/bash
# Style and layering rules that a compiler does not check, over every file of the project.
#
# usage: tests/lint.sh [FOLDER]     prints a line for each violation; status 1 when there is one
cd "${1:-$(dirname "$0")/..}" || exit 2
shopt -s globstar nullglob

# every C-like file of the project, build folders apart
code=()
for folder in frontend ir passes codegen runtime driver tests bench; do
  code+=("$folder"/**/*.{c,h,cpp,def,fbs})
done
scripts=(setup.sh .ci/run tests/*.sh bench/*.{py,sh})
texts=(README.md docs/*.md CMakeLists.txt tests/CMakeLists.txt models/**/*.yaml)
for file in "${scripts[@]}" "${texts[@]}"; do
  [ -f "$file" ] || { echo "lint: $file is missing"; exit 1; }
done
if [ ${#code[@]} -lt 100 ]; then
  echo "lint: only ${#code[@]} source files found; wrong folder?"
  exit 1
fi

bad=0
report() { # report RULE: prints standard input's lines, remembers that there were some
  while IFS= read -r line; do
    echo "$line: $1"
    bad=1
  done
}
only() { # only FOLDER...: the code files in these folders
  for file in "${code[@]}"; do
    for folder; do
      [[ $file == "$folder"/* ]] && echo "$file"
    done
  done
}
# includes PATTERN FOLDER...: lines of files in the folders that include what matches
includes() {
  local pattern=$1
  shift
  only "$@" | xargs grep -nE "^ *# *include *[\"<]($pattern)" | cut -d: -f1,2
}

# ---- the top level ----
allowed=' CMakeLists.txt CMakePresets.json LICENSE README.md setup.sh bench codegen docs driver
 frontend ir models passes runtime tests '
if git rev-parse --git-dir >/dev/null 2>&1; then
  report "does not belong at the top level" < <(git ls-files | cut -d/ -f1 | sort -u |
    while IFS= read -r entry; do
      [[ $entry == .* || " ${allowed//$'\n'/} " == *" $entry "* ]] || echo "$entry"
    done)
fi

# ---- sizes ----
report "the file has more than 600 lines" < <(wc -l "${code[@]}" "${scripts[@]}" |
  awk '$2 != "total" && $1 > 600 {print $2 ":" $1}')
# tables (.def, and what clang-format is told to leave alone) keep a row on a line
report "the line has more than 100 columns" < <(awk '
  /clang-format off/ {table = 1}
  /clang-format on/ || FNR == 1 {table = FILENAME ~ /\.def$/}
  {gsub(/[\x80-\xbf]/, "")}
  !table && length($0) > 100 {print FILENAME ":" FNR}' "${code[@]}" "${scripts[@]}")
report "tabs or blanks at the end of a line" < <(
  grep -nE $'\t|[ ]+$' "${code[@]}" "${scripts[@]}" | cut -d: -f1,2)
report "the file does not open with a comment" < <(awk '
  FNR == 1 && $0 !~ /^(\/\*|\/\/|#|""")/ {print FILENAME ":" FNR}' "${code[@]}" "${scripts[@]}")

# ---- who may include whom ----
report "runtime may include runtime only" < <(includes 'ir|frontend|passes|codegen|driver' runtime)
report "runtime/base includes nothing else of runtime" < <(
  only runtime/base | xargs grep -nE '^#include "runtime/' | grep -v '"runtime/base/' |
    cut -d: -f1,2)
report "ir may include ir and runtime/base only" < <(
  includes 'frontend|passes|codegen|driver' ir
  only ir | xargs grep -nE '^#include "runtime/' | grep -v '"runtime/base/' | cut -d: -f1,2)
report "frontend may not include passes, codegen, driver" < <(
  includes 'passes|codegen|driver' frontend)
report "passes may not include frontend, codegen, driver" < <(
  includes 'frontend|codegen|driver' passes)
report "codegen may not include frontend, passes, driver" < <(
  includes 'frontend|passes|driver' codegen)

# ---- who may include which library ----
library() { # library HEADERS FILES: lines outside FILES that include HEADERS
  grep -nE "^ *# *include *[\"<]($1)" "${code[@]}" | grep -vE "^($2):" | cut -d: -f1,2
}
report "yaml.h belongs to frontend/yaml.c" < <(library 'yaml\.h' 'frontend/yaml\.c')
report "LLVM belongs to codegen/emit_llvm.c and codegen/llvm_*" < <(
  library 'llvm-c/|llvm/' 'codegen/(emit_llvm|llvm_[a-z]+)\.[ch]')
report "flatbuffers belongs to runtime/plan_read.cpp and codegen/plan_write.cpp" < <(
  library 'flatbuffers/|plan_generated\.h' 'runtime/plan_read\.cpp|codegen/plan_write\.cpp')
report "headers of NVIDIA are never included" < <(library 'cu[a-z_]*\.h|nvrtc|nccl|nvJit' '')

# ---- words ----
report "passes know facts of a target, not its name" < <(
  names='cuda|nvrtc|nvidia|ptx|cubin|llvm|x86|avx[0-9]*|sse[0-9]*|neon|aarch64|gpu'
  only passes | xargs grep -niE "\b($names)\b" | cut -d: -f1,2)
report "an unfinished place" < <(grep -nE '\b(TODO|FIXME|XXX)\b' "${code[@]}" "${scripts[@]}" \
  "${texts[@]}" | grep -v '^tests/lint\.sh:' | cut -d: -f1,2)
report "an absolute path of one machine" < <(
  grep -nE '(^|[^a-zA-Z0-9_])/(work|root|home)/[a-z]' "${code[@]}" "${scripts[@]}" "${texts[@]}" |
    grep -v '^tests/lint\.sh:' | cut -d: -f1,2)

[ $bad = 0 ] && echo "lint: ${#code[@]} source files, ${#scripts[@]} scripts: nothing to report"
exit $bad
