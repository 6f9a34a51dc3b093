"""PyTorch's process in the comparisons of peers.sh (worker.py says how it is asked).

`how` is `eager` (module by module), `traced` (traced, frozen, optimize_for_inference) or `compile`
(torch.compile with inductor, weights frozen where nothing is trained); with `search` inductor also
chooses kernels of matrix products by measuring; with `last` volumes and weights have channels last.
Runs in PyTorch 1.13 (Debian) and in current ones; allocator, BLAS and threads are settings of the
process, made by contenders.py.
"""
import contextlib
import os
import time

import numpy as np
import torch

import models
import samples
import tensors
import worker


def autocast(told):
    if told["precision"] == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def use_inductor(told, frozen):
    import torch._inductor.config as inductor
    inductor.freezing = frozen
    inductor.max_autotune = told["search"]


def laid_out(thing, told):
    """The module or the volumes, with channels last if they are wanted so."""
    return thing.to(memory_format=torch.channels_last_3d) if told["last"] else thing


def prepared(module, told, example):
    """The module, ready for inference in the way that is wanted."""
    module.eval()
    if told["how"] == "traced":
        traced = torch.jit.freeze(torch.jit.trace(module, example))
        return torch.jit.optimize_for_inference(traced)
    if told["how"] == "compile":
        use_inductor(told, True)
        return torch.compile(module, dynamic=False)
    return module


def model_of(told):
    model = models.new(told["model"])
    return laid_out(models.fill(model, tensors.load(told["weights"])), told)


def arrays_of(told):
    arrays = {name: torch.from_numpy(value) for name, value in worker.inputs(told).items()}
    if "volume" in arrays:
        arrays["volume"] = laid_out(arrays["volume"], told)
    return arrays


# ---- the kinds of work: each gives what is timed, and what gives the results ----

def forward(told):
    arrays = arrays_of(told)
    given = tuple(arrays[name] for name in told["takes"])
    model = prepared(model_of(told), told, given)

    def work():
        with torch.no_grad(), autocast(told):
            return model(*given)

    return work, lambda: {"pooled": work().float()}


def optimizer_of(model, told):
    # one pass over all weights where there is one
    fused = {} if torch.__version__.startswith("1.") else {"fused": True}
    return models.new_optimizer(model, told["lr"], **fused)


def trainable(model, told):
    model.train()
    if told["how"] == "compile":
        use_inductor(told, False)
        return torch.compile(model, dynamic=False)
    return model


def train(told):
    arrays = arrays_of(told)
    model = model_of(told)
    optimizer, run = optimizer_of(model, told), trainable(model, told)

    def work():
        optimizer.zero_grad(set_to_none=True)
        loss = (run(arrays["volume"]) * arrays["target"]).mean()
        loss.backward()
        optimizer.step()
        return loss

    def results():
        found = {"step0.loss": work().detach()}
        found.update({f"grad.{name}": p.grad for name, p in model.named_parameters()})
        found.update({f"param.{name}": value for name, value in model.state_dict().items()})
        return found

    return work, results


def zeroshot(told):
    """As released: every finding runs the image encoder once more, and its two prompts."""
    volume = arrays_of(told)["volume"]
    ids, mask = map(torch.from_numpy, samples.padded(
        samples.token_lists(told["prompts"], told["length"]), told["length"]))
    model = model_of(told)

    class Part(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.model, self.part = model, part

        def forward(self, *given):
            return getattr(self.model, self.part)(*given)

    image = prepared(Part("image"), told, (volume,))
    text = prepared(Part("text"), told, (ids[:2], mask[:2]))

    def work():
        with torch.no_grad(), autocast(told):
            found = []
            for at in range(0, len(ids), 2):
                cosines = image(volume) @ text(ids[at:at + 2], mask[at:at + 2]).t()
                found.append((cosines[0].float() * np.e).softmax(0)[0])
            return torch.stack(found)

    if told["repeat"]:  # what compiles does so now
        with torch.no_grad(), autocast(told):
            image(volume), text(ids[:2], mask[:2])
    return work, lambda: {"probabilities": work()}


# ---- whole CLIP steps ----

def clip(told):
    """Losses and seconds of `steps` steps; a step waits for its volumes, which are read ahead."""
    model = model_of(told)
    optimizer, run = optimizer_of(model, told), trainable(model, told)
    volumes = [f"{told['volumes']}/{name}.npy" for name in told["names"]]
    lists = samples.token_lists(told["tokens"], 512)

    def read(order):
        texts = [lists[n] for n in order]
        length = told["length"] or max(map(len, texts))
        stacked = np.stack([np.load(volumes[n]) for n in order])
        return [laid_out(torch.from_numpy(stacked), told),
                *map(torch.from_numpy, samples.padded(texts, length))]

    losses, seconds = [], []
    orders = samples.batches(len(volumes), told["batch"], told["seed"], told["steps"])
    start = time.perf_counter()
    for given in samples.read_ahead(orders, read):
        optimizer.zero_grad(set_to_none=True)
        with autocast(told):
            loss = run(*given)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        end = time.perf_counter()
        seconds.append(end - start)
        start = end
    return losses, seconds


def versions():
    """With the BLAS of matrix products: MKL where PyTorch has it built in, else what is loaded."""
    torch.ones(64, 64) @ torch.ones(64, 64)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        loaded = {os.path.basename(line.split()[-1]) for line in maps if ".so" in line}
    blas = sorted(name for name in loaded if "blas" in name)
    name = "MKL" if torch.backends.mkl.is_available() else " ".join(blas)
    return f"PyTorch {torch.__version__}, BLAS {name}"


def main():
    told = worker.settings()
    torch.set_num_threads(told["threads"])
    torch.manual_seed(1)
    if told["kind"] == "clip":
        losses, seconds = clip(told)
        results = {f"step{n}.loss": np.array(loss) for n, loss in enumerate(losses)}
        worker.answer(told, lambda: results, seconds[told["warm"]:], versions())
        return
    work, results = {"forward": forward, "train": train, "zeroshot": zeroshot}[told["kind"]](told)
    seconds = worker.times(work, told)
    worker.answer(told, results, seconds, versions())


if __name__ == "__main__":
    main()
