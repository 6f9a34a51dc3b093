"""The same work in PyTorch: DCFormer's forward pass and training step, timed or compared.

Needs Python 3 with PyTorch (Debian: python3-torch, run with /usr/bin/python3). Everything else of
the project works without Python.

    peers.py forward|optimized|train [--volume D,H,W] [--batch N] [--repeat N]   one line of JSON
    peers.py export FOLDER [--volume D,H,W]      weights, inputs and results as safetensors
    peers.py version
    peers.py compare FOLDER                      tricot's results in FOLDER against PyTorch's

`forward` runs module by module; `optimized` is traced, frozen and prepared by PyTorch's
optimize_for_inference. The allocator is told to keep its memory, without which PyTorch spends most
of its time on page faults. Volumes come in the order the network wants, so PyTorch pays no permute.
"""
import argparse
import json
import math
import os
import struct
import sys
import time

SETTINGS = {
    # memory stays with the process; OpenMP's threads stay on their cores
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "1000000000",
    "OMP_PROC_BIND": "true",
    "OMP_PLACES": "cores",
}
RIGHT = all(os.environ.get(name) == value for name, value in SETTINGS.items())
if __name__ == "__main__" and not RIGHT:
    os.environ.update(SETTINGS)
    os.execv(sys.executable, [sys.executable] + sys.argv)

import numpy as np  # noqa: E402  (after the settings, which libraries read when they load)
import torch  # noqa: E402
from torch import nn  # noqa: E402


# ---- the model; parameter names are those of models/dcformer.yaml ----

class DecomposedConv(nn.Module):
    """Three parallel convolutions along one axis each, with a norm each, summed."""

    def __init__(self, inner, outer, k, stride=1, groups=1):
        super().__init__()
        for axis, name in enumerate(("c1", "c2", "c3")):
            kernel = [1, 1, 1]
            kernel[axis] = k
            conv = nn.Conv3d(inner, outer, kernel, stride, [n // 2 for n in kernel], groups=groups)
            setattr(self, name, nn.Sequential(conv, nn.BatchNorm3d(outer)))

    def forward(self, x):
        return self.c1(x) + self.c2(x) + self.c3(x)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(),
                                 nn.Linear(4 * width, width))

    def forward(self, x):
        return self.mlp(x)


class Block(nn.Module):
    def __init__(self, width, k, before=None):
        super().__init__()
        if before:
            self.pool = nn.MaxPool3d(3, stride=2, padding=1)
            self.proj = nn.Conv3d(before, width, 1, bias=False)
        self.before = before
        self.dwconv = DecomposedConv(width, width, k, groups=width)
        self.mlp = Mlp(width)
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x):
        if self.before:
            x = self.proj(self.pool(x))
        y = self.dwconv(x).permute(0, 2, 3, 4, 1)
        return x + (self.mlp(y) * self.gamma).permute(0, 4, 1, 2, 3)


class DCFormer(nn.Module):
    """The nano variant: input [B,1,H,W,D], output the mean over the last stage's grid."""

    def __init__(self, dims=(32, 32, 64, 128, 256), kernels=(13, 11, 9, 7)):
        super().__init__()
        stem = [DecomposedConv(1, dims[0], 7, stride=4)]
        stem += [DecomposedConv(dims[0], dims[0], 3) for _ in range(3)]
        self.s0 = nn.Sequential(nn.Sequential(*stem))
        for s, k in enumerate(kernels):
            setattr(self, f"s{s + 1}", nn.Sequential(Block(dims[s + 1], k, dims[s])))

    def forward(self, x):
        x = self.s4(self.s3(self.s2(self.s1(self.s0(x)))))
        return x.mean(dim=(2, 3, 4))


def new_model():
    torch.manual_seed(1)
    model = DCFormer()
    with torch.no_grad():  # gamma as after some training: at 1e-6 the blocks would not show
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.uniform_(0.05, 0.5)
    return model


def new_optimizer(model, lr):
    """AdamW as tricot's: weights of two and more axes decay, biases, norms and gamma do not."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=lr,
                             betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05)


def train_step(model, optimizer, volume, target):
    optimizer.zero_grad(set_to_none=True)
    loss = (model(volume) * target).mean()
    loss.backward()
    optimizer.step()
    return loss


# ---- timing ----

def inputs(batch, size):
    generator = torch.Generator().manual_seed(2)
    volume = 2 * torch.rand([batch, 1] + list(size), generator=generator) - 1  # [B,1,D,H,W]
    return volume, torch.randn([batch, 256], generator=generator)


def timed(work, repeat):
    work()
    work()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)


def measure(arguments):
    volume, target = inputs(arguments.batch, arguments.volume)
    volume = volume.permute(0, 1, 3, 4, 2).contiguous()
    model = new_model()
    start = time.perf_counter()
    if arguments.what == "train":
        optimizer = new_optimizer(model, 2.5e-6)
        seconds = timed(lambda: train_step(model, optimizer, volume, target), arguments.repeat)
    else:
        model.eval()
        with torch.no_grad():
            if arguments.what == "optimized":
                traced = torch.jit.freeze(torch.jit.trace(model, volume))
                model = torch.jit.optimize_for_inference(traced)
                for _ in range(3):
                    model(volume)
            seconds = timed(lambda: model(volume), arguments.repeat)
    print(json.dumps({"what": arguments.what, "threads": torch.get_num_threads(),
                      "torch": torch.__version__, "seconds_median": seconds[len(seconds) // 2],
                      "seconds_min": seconds[0], "seconds_max": seconds[-1],
                      "seconds_with_start": time.perf_counter() - start}))


def describe():
    torch.ones(64, 64) @ torch.ones(64, 64)
    with open("/proc/self/maps") as maps:
        loaded = {os.path.basename(line.split()[-1]) for line in maps if ".so" in line}
    blas = sorted(name for name in loaded if "blas" in name)
    return f"{torch.__version__}, BLAS {' '.join(blas) or 'built in'}, allocator tuned, pinned"


# ---- comparing ----

def save(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, value in tensors.items():
        array = np.ascontiguousarray(value.detach().numpy())
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(value.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        blobs.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
    return {name: np.frombuffer(data[row["data_offsets"][0]:row["data_offsets"][1]],
                                kinds[row["dtype"]]).reshape(row["shape"]).astype("float64")
            for name, row in header.items()}


def export(arguments):
    folder = arguments.folder
    os.makedirs(folder, exist_ok=True)
    model = new_model()
    volume, target = inputs(2, arguments.volume)
    inner = volume.permute(0, 1, 3, 4, 2).contiguous()
    with torch.no_grad():  # running statistics that are not 0 and 1
        model(inner)
    save(f"{folder}/weights.safetensors", model.state_dict())
    save(f"{folder}/inputs.safetensors", {"volume": volume, "target": target})
    results = {}
    with torch.no_grad():
        results["pooled"] = model.eval()(inner)
    model.train()
    optimizer = new_optimizer(model, 1e-3)
    for step in range(3):
        results[f"step{step}.loss"] = train_step(model, optimizer, inner, target).detach()
        if step == 0:
            for name, parameter in model.named_parameters():
                results[f"grad.{name}"] = parameter.grad.clone()
            for name, value in model.state_dict().items():
                results[f"param.{name}"] = value.clone()
    save(f"{folder}/torch.safetensors", results)


def compare(arguments):
    """Lengths of differences, relative to the value's (parameters: to what a step moved them).

    Not element by element: AdamW moves an element whose gradient is all rounding as far as others.
    """
    folder = arguments.folder
    expected = load(f"{folder}/torch.safetensors")
    start = load(f"{folder}/weights.safetensors")
    got = load(f"{folder}/pooled.safetensors")
    got.update(load(f"{folder}/step.safetensors"))
    got.update(load(f"{folder}/losses.safetensors"))
    missing = [name for name in expected if name not in got]
    if missing:
        print(f"missing: {missing[:5]}")
        return 1
    sums = {}
    for name, value in expected.items():
        kind = "loss" if name.endswith("loss") else name.split(".")[0]
        if "running" in name or name.endswith("tracked"):
            kind = "statistics"
        # a bias before a norm on batch statistics has no gradient: noise, which AdamW follows, and
        # which the running means follow in turn
        if name.endswith(".0.bias") and ".c" in name or "running_mean" in name:
            continue
        moved = value - start[name[6:]] if kind == "param" else value
        difference = got[name].reshape(value.shape) - value
        row = sums.setdefault(kind, [0.0, 0.0, 0])
        row[0] += np.sum(difference ** 2)
        row[1] += np.sum(moved ** 2)
        row[2] += 1
    limits = {"pooled": 1e-5, "loss": 1e-3, "grad": 1e-3, "param": 2e-2, "statistics": 1e-3}
    bad = set(sums) != set(limits)
    for kind, (difference, length, count) in sorted(sums.items()):
        relative = math.sqrt(difference / length)
        good = relative <= limits[kind]
        bad |= not good
        print(f"{kind:10} {count:4} tensors, relative difference {relative:.1e}"
              f"{'' if good else '  TOO LARGE'}")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["forward", "optimized", "train", "export", "compare",
                                         "version"])
    parser.add_argument("folder", nargs="?", default="out/bench")
    parser.add_argument("--volume", default="128,256,256",
                        type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "version":
        print(describe())
        return 0
    if arguments.what in ("export", "compare"):
        return {"export": export, "compare": compare}[arguments.what](arguments) or 0
    measure(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
