"""PyTorch on a CUDA device, the same work as `bench/gpu.sh own`: forward with one volume, training
steps, CLIP steps whose inputs are copied from page-locked memory. bf16 by autocast, as people use
it; each way runs with volumes and weights as they are and with channels last. Prints a table, with
tricot's times of the same folder beside them where they are there.
"""
import argparse
import contextlib
import gc
import json
import os
import statistics
import sys
import time

import torch

import models

WARM = 3
WAYS = [("eager", False), ("eager", True), ("compile", False), ("compile", True)]


def laid_out(thing, last):
    return thing.to(memory_format=torch.channels_last_3d) if last else thing


def autocast():
    return torch.autocast("cuda", dtype=torch.bfloat16)


def ready(model, how):
    return torch.compile(model, dynamic=False) if how == "compile" else model


def seconds_of(work, runs):
    """The median of `runs` runs, each by events around it."""
    for _ in range(WARM):
        work()
    times = []
    for _ in range(runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(1e-3 * begin.elapsed_time(end))
    return statistics.median(times)


def forward(told, variant, how, last):
    model = laid_out(models.DCFormer(variant).cuda(), last).eval()
    volume = laid_out(models.noise(1, told.volume).cuda(), last)
    run = ready(model, how)

    def work():
        with torch.no_grad(), autocast():
            return run(volume)

    return work


def training(told, variant, how, last):
    model = laid_out(models.DCFormer(variant).cuda(), last).train()
    volume = laid_out(models.noise(told.batch, told.volume).cuda(), last)
    optimizer, run = models.new_optimizer(model, 1e-4, fused=True), ready(model, how)

    def work():
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = run(volume).float().mean()
        loss.backward()
        optimizer.step()

    return work


def clip(told, variant, how, last):
    model = laid_out(models.Clip(variant).cuda(), last).train()
    volume = models.noise(told.batch, told.volume).pin_memory()
    ids = torch.randint(0, 30000, (told.batch, 512)).pin_memory()
    mask = torch.ones_like(ids).pin_memory()
    optimizer, run = models.new_optimizer(model, 1e-4, fused=True), ready(model, how)

    def work():
        optimizer.zero_grad(set_to_none=True)
        given = [laid_out(volume.cuda(non_blocking=True), last),
                 ids.cuda(non_blocking=True), mask.cuda(non_blocking=True)]
        with autocast():
            loss = run(*given)
        loss.backward()
        optimizer.step()

    return work


def measured(told, make, variant, how, last):
    """Seconds and the peak of memory in bytes, or why there are none."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    if how == "compile":
        torch.compiler.reset()
    try:
        start = time.perf_counter()
        work = make(told, variant, how, last)
        seconds = seconds_of(work, told.runs)
        print(f"{how}{' channels last' if last else ''}, {make.__name__} {variant}: "
              f"{1e3 * seconds:.2f} ms ({time.perf_counter() - start:.0f} s)", file=sys.stderr)
        return seconds, torch.cuda.max_memory_allocated()
    except torch.OutOfMemoryError:
        return None, "out of memory"
    finally:
        with contextlib.suppress(NameError):
            del work


def ours(told, name):
    path = os.path.join(told.out, f"{name}.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)["seconds_median"]


def show(told, results):
    head = [f"{how}{', last' if last else ''}" for how, last in WAYS]
    print("| ms, median | tricot | " + " | ".join(head) + " | best compiled / tricot |")
    print("|---" * (len(head) + 3) + "|")
    for name, ways in results.items():
        own = ours(told, name)
        cells = [f"{1e3 * seconds:.2f} ({peak / 1e9:.1f} GB)" if seconds else peak
                 for seconds, peak in ways]
        compiled = [seconds for (seconds, _), (how, _) in zip(ways, WAYS)
                    if how == "compile" and seconds]
        ratio = f"{min(compiled) / own:.2f}" if own and compiled else "-"
        print(f"| {name} | {f'{1e3 * own:.2f}' if own else 'not measured'} | "
              + " | ".join(cells) + f" | {ratio} |")
    print(f"\n- PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN "
          f"{torch.backends.cudnn.version()}; in brackets the peak of allocated memory")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("variants", nargs="+")
    for name, kind in (("size", str), ("out", str), ("batch", int), ("runs", int), ("device", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    told = parser.parse_args()
    told.volume = [int(n) for n in told.size.split(",")]
    if torch.__version__.startswith("2.9."):
        print("skipped: PyTorch 2.9 computes convolutions of volumes in bf16 far too slowly")
        sys.exit(77)
    if not torch.cuda.is_available():
        print("skipped: this PyTorch finds no CUDA device")
        sys.exit(77)
    torch.cuda.set_device(told.device)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    jobs = [(f"{v}-{name}", make, v) for v in told.variants
            for name, make in (("forward", forward), ("training", training))]
    jobs.append(("clip-nano-training", clip, "nano"))
    results = {name: [measured(told, make, variant, how, last) for how, last in WAYS]
               for name, make, variant in jobs}
    with open(os.path.join(told.out, "peers.json"), "w", encoding="utf-8") as file:
        json.dump({"torch": torch.__version__, "ways": WAYS, "results": results}, file, indent=1)
    show(told, results)


if __name__ == "__main__":
    main()
