# Sourced: writes small safetensors files without any program of the project.

# tensor_file PATH HEADER-JSON BYTES: a header, then that many zero bytes of data
tensor_file() {
  size=$(printf '\\%03o\\%03o' $((${#2} % 256)) $((${#2} / 256))) # 64 bits, little-endian
  printf "$size"'\000\000\000\000\000\000' >"$1"
  printf '%s' "$2" >>"$1"
  head -c "$3" /dev/zero >>"$1"
}

# add_scalar FROM TO NAME BYTES: a copy of a file with one more f32 scalar; BYTES as printf escapes
add_scalar() {
  size=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  header=$(head -c $((size + 8)) "$1" | tail -c "$size" | sed 's/ *$//')
  end=$(($(wc -c <"$1") - 8 - size))
  entry="\"$3\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[$end,$((end + 4))]}"
  header="${header%\}},$entry}"
  tensor_file "$2" "$header" 0
  tail -c "$end" "$1" >>"$2"
  printf "$4" >>"$2"
}
