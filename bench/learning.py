"""The training of bench/learning.sh in PyTorch: same weights, same batches, same AdamW.

Needs Python 3 with PyTorch (Debian: python3-torch, run with /usr/bin/python3).

    learning.py texts FOLDER SPLIT           the split's reports, one a line, as training reads them
    learning.py train FOLDER --batch N --steps N --seed N [--threads N]
    learning.py compare FOLDER               losses and AUROC beside tricot's; status 1: too far

FOLDER is what learning.sh fills: data/ (a CT-RATE tree), volumes/SPLIT/NAME.safetensors, SPLIT.ids
and prompts.ids (a JSON list of tokens a line), start.safetensors (weights before the first step),
tricot/log.csv (losses and learning rates), tricot/zeroshot.json. It writes torch.csv, torch.json.
"""
import argparse
import csv
import json
import os
import re
import sys

import numpy as np
import torch

import models
import samples
import tensors

LOSS_LIMIT, LOSSES, AUROC_LIMIT = 1e-2, 100, 0.03


# ---- data ----

def table(folder, name):
    with open(os.path.join(folder, "data", name), newline="") as file:
        rows = list(csv.DictReader(file))
    return sorted(rows, key=lambda row: [int(n) for n in re.findall(r"\d+", row["VolumeName"])])


def texts(arguments):
    longer = {"train": "train", "valid": "validation"}[arguments.split]
    for row in table(arguments.folder, f"radiology_text_reports/{longer}_reports.csv"):
        print(re.sub(r"[\"'()]", "", row["Findings_EN"] + row["Impressions_EN"]))


def token_ids(path, length):
    return map(torch.from_numpy, samples.padded(samples.token_lists(path, length), length))


def volumes(folder, split, names):
    """[N,1,H,W,D]: the order the network wants."""
    files = [tensors.load(f"{folder}/volumes/{split}/{name}.safetensors") for name in names]
    stacked = np.stack([file["volume"].astype("float32") for file in files])
    return torch.tensor(stacked).permute(0, 1, 3, 4, 2).contiguous()


# ---- training and evaluation ----

def auroc(scores, labels):
    """Area under the curve by ranks; None where a class has one kind of label only."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    if not len(positives) or not len(negatives):
        return None
    wins = (positives[:, None] > negatives[None, :]).mean()
    return wins + 0.5 * (positives[:, None] == negatives[None, :]).mean()


def zeroshot(model, folder, length):
    rows = table(folder, "multi_abnormality_labels/valid_predicted_labels.csv")
    names = [name for name in rows[0] if name != "VolumeName"]
    model.eval()
    with torch.no_grad():
        prompts = model.text(*token_ids(f"{folder}/prompts.ids", length)).numpy()
        images = volumes(folder, "valid", [row["VolumeName"] for row in rows])
        latents = torch.cat([model.image(images[i:i + 1]) for i in range(len(images))]).numpy()
    scores = latents @ (prompts[0::2] - prompts[1::2]).T
    labels = np.array([[int(row[name]) for name in names] for row in rows])
    return {name: auroc(scores[:, c], labels[:, c]) for c, name in enumerate(names)}


def read_log(folder):
    with open(f"{folder}/tricot/log.csv", newline="") as file:
        return [(float(row["loss"]), float(row["lr"])) for row in csv.DictReader(file)]


def train(arguments):
    folder = arguments.folder
    torch.set_num_threads(arguments.threads)
    model = models.clip_of(tensors.load(f"{folder}/start.safetensors"), arguments.heads)
    optimizer = models.new_optimizer(model, 0.0)
    names = [row["VolumeName"] for row in table(folder, "metadata/train_metadata.csv")]
    images = volumes(folder, "train", names)
    ids, mask = token_ids(f"{folder}/train.ids", arguments.length)
    rates = [rate for _, rate in read_log(folder)]
    model.train()
    with open(f"{folder}/torch.csv", "w") as out:
        out.write("step,loss\n")
        order = samples.batches(len(names), arguments.batch, arguments.seed, arguments.steps)
        for step, chosen in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.zero_grad(set_to_none=True)
            loss = model(images[chosen], ids[chosen], mask[chosen])
            loss.backward()
            optimizer.step()
            out.write(f"{step + 1},{loss.item():.8f}\n")
            if (step + 1) % 50 == 0:
                out.flush()
                print(f"torch: step {step + 1} of {arguments.steps}, loss {loss.item():.5f}",
                      file=sys.stderr, flush=True)
    with open(f"{folder}/torch.json", "w") as out:
        json.dump(zeroshot(model, folder, arguments.length), out, indent=1)


def compare(arguments):
    folder = arguments.folder
    ours = [loss for loss, _ in read_log(folder)]
    with open(f"{folder}/torch.csv", newline="") as file:
        theirs = [float(row["loss"]) for row in csv.DictReader(file)]
    if len(theirs) != len(ours) or len(ours) < LOSSES:
        print(f"{len(ours)} losses of tricot, {len(theirs)} of PyTorch")
        return 1
    apart = [abs(a - b) for a, b in zip(ours, theirs)]
    print("| steps | mean loss, tricot | mean loss, PyTorch | largest difference |")
    print("|---|---|---|---|")
    for first in range(0, len(ours), LOSSES):
        part = slice(first, min(first + LOSSES, len(ours)))
        print(f"| {first + 1} to {part.stop} | {np.mean(ours[part]):.4f} | "
              f"{np.mean(theirs[part]):.4f} | {max(apart[part]):.1e} |")
    with open(f"{folder}/tricot/zeroshot.json") as file:
        classes = json.load(file)["per_pathology"]
    with open(f"{folder}/torch.json") as file:
        other = json.load(file)
    mine = {name: row["auroc"] for name, row in classes.items()}
    both = [name for name in other if other[name] is not None and mine.get(name) is not None]
    print("\n| finding | AUROC, tricot | AUROC, PyTorch |\n|---|---|---|")
    for name in both:
        print(f"| {name} | {mine[name]:.3f} | {other[name]:.3f} |")
    macro = [np.mean([rows[name] for name in both]) for rows in (mine, other)]
    print(f"| macro | {macro[0]:.3f} | {macro[1]:.3f} |\n")
    early, gap = max(apart[:LOSSES]), abs(macro[0] - macro[1])
    good = early <= LOSS_LIMIT and gap <= AUROC_LIMIT
    print(f"The first {LOSSES} losses differ by at most {early:.1e} (limit {LOSS_LIMIT}), the\n"
          f"macro AUROC by {gap:.3f} (limit {AUROC_LIMIT}){'' if good else ': TOO FAR APART'}.")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["texts", "train", "compare"])
    parser.add_argument("folder")
    parser.add_argument("split", nargs="?", default="train")
    for name, value in (("batch", 48), ("steps", 800), ("seed", 1), ("threads", 2), ("heads", 4),
                        ("length", 96)):
        parser.add_argument("--" + name, type=int, default=value)
    arguments = parser.parse_args()
    return {"texts": texts, "train": train, "compare": compare}[arguments.what](arguments) or 0


if __name__ == "__main__":
    sys.exit(main())
