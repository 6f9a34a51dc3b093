# Sourced: writes small safetensors files without any program of the project.

# tensor_file PATH HEADER-JSON BYTES: a header, then that many zero bytes of data
tensor_file() {
  printf '%b' "$(printf '\\%03o\\%03o\\000\\000\\000\\000\\000\\000' $((${#2} % 256)) $((${#2} / 256)))" >"$1"
  printf '%s' "$2" >>"$1"
  head -c "$3" /dev/zero >>"$1"
}
