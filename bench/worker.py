"""What the process of a peer is told and what it answers.

    PEER.py SETTINGS.json       prints one line of JSON

The settings are those of jobs.py: `kind` of work, `how` the peer does it, files, `precision`, and
`repeat` (0: only results are wanted). The answer has `seconds`, one for each counted run, and
`results` names the file of the tensors to compare.
"""
import json
import sys
import time

import numpy as np

import tensors

WARM = 2   # runs that do not count: PyTorch's second run still compiles
LEAST = 3  # counted runs, however long they take; a zero-shot procedure is 18 runs by itself


def settings():
    with open(sys.argv[1], encoding="utf-8") as file:
        return json.load(file)


def inputs(told):
    """The arrays of the input file; volumes as the network wants them, [B,1,H,W,D]."""
    arrays = tensors.load(told["inputs"])
    if "volume" in arrays:
        arrays["volume"] = np.ascontiguousarray(arrays["volume"].transpose(0, 1, 3, 4, 2))
    return arrays


def times(work, told):
    """Seconds of `repeat` runs of work(), but of no more than fit into `limit` after LEAST."""
    if not told["repeat"]:
        return []
    warm, least = (0, 1) if told["kind"] == "zeroshot" else (WARM, LEAST)
    for _ in range(warm):
        work()
    seconds, begin = [], time.perf_counter()
    while len(seconds) < told["repeat"]:
        start = time.perf_counter()
        work()
        end = time.perf_counter()
        seconds.append(end - start)
        if len(seconds) >= least and end - begin > told["limit"]:
            break
    return seconds


def answer(told, results, seconds, versions):
    if not told["repeat"]:
        tensors.save(told["results"], results())
    print(json.dumps({"seconds": seconds, "versions": versions}))
