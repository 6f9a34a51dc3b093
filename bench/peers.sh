#!/bin/bash
# tricot beside its peers on the same work, in turns, on an otherwise idle machine.
#
# usage: bench/peers.sh JOB... [--peers A,B] [--rounds N] [--quick] ...     --help tells all
# Prints tables in Markdown and writes JSON to out/peers/results. bench/peers_setup.sh installs the
# peers. docs/benchmarks.md says what is measured, and how.
set -euo pipefail
exec /usr/bin/python3 "$(dirname "$0")/compare.py" "$@"
