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
import math
import os
import re
import sys

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, normalize, softmax

import peers

LOSS_LIMIT, LOSSES, AUROC_LIMIT = 1e-2, 100, 0.03


# ---- the text encoder and CLIP; parameter names are those of models/bert.yaml and clip.yaml ----

class Named(nn.Module):
    """Holds modules under the given names."""

    def __init__(self, /, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def get(self, path):
        return self.get_submodule(path)


class Layer(Named):
    """Attention and the two dense maps, each with a residual and a norm after it."""

    def __init__(self, width, heads, hidden, eps):
        dense = nn.Linear
        super().__init__(
            attention=Named(self=Named(query=dense(width, width), key=dense(width, width),
                                       value=dense(width, width)),
                            output=Named(dense=dense(width, width),
                                         LayerNorm=nn.LayerNorm(width, eps))),
            intermediate=Named(dense=dense(width, hidden)),
            output=Named(dense=dense(hidden, width), LayerNorm=nn.LayerNorm(width, eps)))
        self.heads = heads

    def forward(self, x, bias):
        batch, length, width = x.shape

        def split(name):
            y = self.get("attention.self." + name)(x)
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        scores = split("query") @ split("key").transpose(2, 3) / math.sqrt(width / self.heads)
        y = (softmax(scores + bias, -1) @ split("value")).transpose(1, 2).reshape(x.shape)
        y = self.get("attention.output.dense")(y)
        x = self.get("attention.output.LayerNorm")(y + x)
        y = self.get("output.dense")(gelu(self.get("intermediate.dense")(x)))
        return self.get("output.LayerNorm")(y + x)


class Bert(Named):
    def __init__(self, vocab, positions, types, width, layers, heads, hidden, eps=1e-12):
        super().__init__(
            embeddings=Named(word_embeddings=nn.Embedding(vocab, width),
                             position_embeddings=nn.Embedding(positions, width),
                             token_type_embeddings=nn.Embedding(types, width),
                             LayerNorm=nn.LayerNorm(width, eps)),
            encoder=Named(layer=nn.ModuleList(Layer(width, heads, hidden, eps)
                                              for _ in range(layers))))

    def forward(self, ids, mask):
        tables = self.embeddings
        x = tables.LayerNorm(tables.word_embeddings(ids) +
                             tables.position_embeddings.weight[:ids.shape[1]] +
                             tables.token_type_embeddings.weight[0])
        bias = (mask[:, None, None, :].float() - 1) * 10000
        for layer in self.encoder.layer:
            x = layer(x, bias)
        return x[:, 0]


class Clip(Named):
    """Built to the shapes of the weights it is given."""

    def __init__(self, weights, heads):
        def shape(name):
            return weights["text_transformer." + name].shape

        vocab, width = shape("embeddings.word_embeddings.weight")
        layers = 1 + max(int(found.group(1)) for found in
                         (re.search(r"encoder\.layer\.(\d+)\.", name) for name in weights) if found)
        latent, image_width = weights["to_visual_latent.weight"].shape
        super().__init__(
            visual_transformer=Named(encoder=peers.DCFormer()),
            text_transformer=Bert(
                vocab, shape("embeddings.position_embeddings.weight")[0],
                shape("embeddings.token_type_embeddings.weight")[0], width, layers, heads,
                shape("encoder.layer.0.intermediate.dense.weight")[0]),
            to_visual_latent=nn.Linear(image_width, latent, bias=False),
            to_text_latent=nn.Linear(width, latent, bias=False))
        self.logit_scale = nn.Parameter(torch.zeros([]))
        self.load_state_dict({name: torch.tensor(value, dtype=torch.int64 if "tracked" in name
                                                 else torch.float32)
                              for name, value in weights.items()})

    def image(self, volumes):
        return normalize(self.to_visual_latent(self.get("visual_transformer.encoder")(volumes)))

    def text(self, ids, mask):
        return normalize(self.to_text_latent(self.text_transformer(ids, mask)))

    def loss(self, volumes, ids, mask):
        logits = self.text(ids, mask) @ self.image(volumes).T * self.logit_scale.exp()
        diagonal = torch.arange(len(logits))
        return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2


# ---- the order of samples: Philox 4x32-10 (Salmon et al., SC'11), a shuffle for each epoch ----

def philox_uniform(seed, stream, index):
    low = (1 << 32) - 1
    key = [seed & low, seed >> 32]
    c = [index & low, index >> 32, stream & low, stream >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ key[0], b & low, (a >> 32) ^ c[3] ^ key[1], a & low]
        key = [(key[0] + 0x9E3779B9) & low, (key[1] + 0xBB67AE85) & low]
    return ((c[0] << 21) ^ (c[1] >> 11)) * 2.0 ** -53


def batches(count, batch, seed, steps):
    in_epoch = count // batch
    for step in range(steps):
        if step % in_epoch == 0:
            order = list(range(count))
            for i in range(count - 1, 0, -1):
                k = int(philox_uniform(seed, step // in_epoch, i) * (i + 1))
                order[i], order[k] = order[k], order[i]
        first = step % in_epoch * batch
        yield order[first:first + batch]


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
    with open(path) as file:
        lists = [json.loads(line) for line in file]
    ids = torch.zeros([len(lists), length], dtype=torch.int64)
    mask = torch.zeros([len(lists), length], dtype=torch.int64)
    for row, tokens in enumerate(lists):
        if len(tokens) > length:  # [SEP] stays
            tokens = tokens[:length - 1] + tokens[-1:]
        ids[row, :len(tokens)] = torch.tensor(tokens)
        mask[row, :len(tokens)] = 1
    return ids, mask


def volumes(folder, split, names):
    """[N,1,H,W,D]: the order the network wants."""
    files = [peers.load(f"{folder}/volumes/{split}/{name}.safetensors") for name in names]
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
    model = Clip(peers.load(f"{folder}/start.safetensors"), arguments.heads)
    optimizer = peers.new_optimizer(model, 0.0)
    names = [row["VolumeName"] for row in table(folder, "metadata/train_metadata.csv")]
    images = volumes(folder, "train", names)
    ids, mask = token_ids(f"{folder}/train.ids", arguments.length)
    rates = [rate for _, rate in read_log(folder)]
    model.train()
    with open(f"{folder}/torch.csv", "w") as out:
        out.write("step,loss\n")
        order = batches(len(names), arguments.batch, arguments.seed, arguments.steps)
        for step, chosen in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.zero_grad(set_to_none=True)
            loss = model.loss(images[chosen], ids[chosen], mask[chosen])
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
