"""safetensors files to and from NumPy, and how far two sets of tensors are apart."""
import json
import math
import struct

import numpy as np

KINDS = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
NAMES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def save(path, arrays):
    """arrays: names to NumPy arrays or to PyTorch's tensors."""
    header, blobs, offset = {}, [], 0
    for name, value in arrays.items():
        value = value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)
        shape = list(value.shape)  # ascontiguousarray makes scalars vectors
        value = np.ascontiguousarray(value)
        header[name] = {"dtype": NAMES[value.dtype.name], "shape": shape,
                        "data_offsets": [offset, offset + value.nbytes]}
        blobs.append(value)
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in blobs:
            file.write(value.data)


def load(path):
    """Names to arrays that read the file where they are looked at; it must stay as it is."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    data = np.memmap(path, mode="c", offset=8 + size) if header else None
    return {name: np.frombuffer(data[row["data_offsets"][0]:row["data_offsets"][1]],
                                KINDS[row["dtype"]]).reshape(row["shape"])
            for name, row in header.items()}


def distances(expected, got, start=None):
    """(kind, tensors, relative distance) of what two files hold, by the first word of a name.

    Lengths of differences against the length of the value, over all tensors of a kind together; of
    parameters after a step against what the step moved (start: the weights before). Not element by
    element: AdamW moves an element whose gradient is all rounding as far as others.
    """
    missing = [name for name in expected if name not in got]
    if missing:
        raise SystemExit(f"missing in the results: {', '.join(missing[:5])}")
    sums = {}
    for name, value in expected.items():
        kind = "loss" if name.endswith("loss") else name.split(".")[0]
        if "running" in name or name.endswith("tracked"):
            kind = "statistics"
        # a bias before a norm on batch statistics has no gradient: noise, which AdamW follows, and
        # which the running means follow in turn
        if kind != "pooled" and (name.endswith(".0.bias") and ".c" in name or
                                 "running_mean" in name):
            continue
        value = value.astype("float64")
        difference = got[name].reshape(value.shape).astype("float64") - value
        if kind == "param":
            value = value - start[name[len("param."):]].reshape(value.shape)
        row = sums.setdefault(kind, [0.0, 0.0, 0])
        row[0] += np.sum(difference ** 2)
        row[1] += np.sum(value ** 2)
        row[2] += 1
    return [(kind, count, math.sqrt(difference / length) if length else math.sqrt(difference))
            for kind, (difference, length, count) in sorted(sums.items())]
