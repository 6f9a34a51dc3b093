#!/bin/bash
# What the comparisons of bench/peers.sh need beside Debian's PyTorch, all below out/peers.
#
# usage: bench/peers_setup.sh [--new]      --new also installs peers of today from PyPI (about 6 GB)
# OpenBLAS is unpacked aside, so that PyTorch can be measured with the BLAS it finds and with this.
# The peers of today (PyTorch, ONNX Runtime, OpenVINO) go into a virtual environment of their own,
# in their newest versions; bench/peers.sh prints which. torch.compile needs g++ and the headers of
# Python (python3-dev). BENCH_PYTHON makes the environment (default python3).
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/out/peers
mkdir -p "$out/packages"
/usr/bin/python3 -c 'import torch, nibabel' ||
  { echo "peers_setup: apt-get install python3-torch python3-nibabel"; exit 1; }
if [ ! -e "$out/openblas" ]; then
  (cd "$out/packages" && apt-get download libopenblas0-openmp libgfortran5)
  for package in "$out"/packages/*.deb; do
    dpkg-deb -x "$package" "$out/unpacked"
  done
  ln -s "$(dirname "$(find "$out/unpacked" -name 'libblas.so.3' | head -1)")" "$out/openblas"
fi
if [ "${1:-}" = --new ]; then
  [ -e "$out/venv" ] || "${BENCH_PYTHON:-python3}" -m venv "$out/venv"
  "$out/venv/bin/pip" install -q torch numpy nibabel onnx onnxscript onnxruntime openvino
  "$out/venv/bin/pip" list 2>/dev/null
fi
