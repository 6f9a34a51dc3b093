"""The reference procedure of one zero-shot prediction: nibabel, PyTorch, one volume, 18 findings.

Needs Python 3 with PyTorch, NumPy and nibabel (Debian: python3-torch python3-nibabel).

    predict_reference.py weights FILE            random weights of the whole model, as safetensors
    predict_reference.py predict VOLUME --weights FILE --vocab FILE --spacing XY Z [--out FILE]
    predict_reference.py compare TRICOT.json REFERENCE.json

As released with DCFormer (arXiv 2502.05091): the volume is read in float64, clipped, resized in
float32, windowed, cropped and padded; then every one of the 18 findings runs the image encoder once
more and the text encoder (BERT base, 512 tokens with padding) on its two prompts.
"""
import argparse
import json
import sys
import time

import numpy as np
import torch
from torch import nn

import models
import tensors

FINDINGS = ["Medical material", "Arterial wall calcification", "Cardiomegaly",
            "Pericardial effusion", "Coronary artery wall calcification", "Hiatal hernia",
            "Lymphadenopathy", "Emphysema", "Atelectasis", "Lung nodule", "Lung opacity",
            "Pulmonary fibrotic sequela", "Pleural effusion", "Mosaic attenuation pattern",
            "Peribronchial thickening", "Consolidation", "Bronchiectasis",
            "Interlobular septal thickening"]
LENGTH = 512


def make_weights(path):
    tensors.save(path, models.settled(models.Clip()).state_dict())


# ---- texts ----

def tokens(pieces, text):
    """[CLS], greedy longest pieces of the lower-case words, [SEP], padding."""
    ids = [pieces["[CLS]"]]
    for word in text.lower().replace(".", " .").split():
        start = 0
        while start < len(word):
            end = len(word)
            while (("##" if start else "") + word[start:end]) not in pieces:
                end -= 1
            ids.append(pieces[("##" if start else "") + word[start:end]])
            start = end
    ids.append(pieces["[SEP]"])
    mask = [1] * len(ids) + [0] * (LENGTH - len(ids))
    return ids + [0] * (LENGTH - len(ids)), mask


# ---- volumes ----

def prepare(path, xy, z):
    """To [1,1,H,W,D], as released; returns the seconds of reading and of the rest."""
    import nibabel
    start = time.perf_counter()
    data = nibabel.load(path).get_fdata()
    read = time.perf_counter()
    data = (np.clip(data, -1000, 1000) / 1000).astype(np.float32).transpose(2, 0, 1)
    scale = (z / 1.5, xy / 0.75, xy / 0.75)
    size = [int(n * s) for n, s in zip(data.shape, scale)]
    tensor = torch.tensor(data)[None, None]
    tensor = nn.functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)
    data = tensor[0, 0].numpy().transpose(1, 2, 0) * 1000
    data = ((np.clip(data, -1000, 200) + 400) / 600).astype(np.float32)
    wanted = (512, 512, 256)
    begin = [max((n - w) // 2, 0) for n, w in zip(data.shape, wanted)]
    data = data[tuple(slice(b, b + w) for b, w in zip(begin, wanted))]
    pad = [((w - n) // 2, w - n - (w - n) // 2) for n, w in zip(data.shape, wanted)]
    data = np.pad(data, pad, constant_values=-1)
    return torch.tensor(data)[None, None], read - start, time.perf_counter() - read


def predict(arguments):
    model = models.fill(models.Clip(), tensors.load(arguments.weights)).eval()
    with open(arguments.vocab, encoding="utf-8") as file:
        pieces = {line.rstrip("\n"): i for i, line in enumerate(file)}
    start = time.perf_counter()
    volume, read, resample = prepare(arguments.volume, *arguments.spacing)
    image_seconds = text_seconds = 0.0
    probabilities = {}
    with torch.no_grad():
        for name in FINDINGS:
            at = time.perf_counter()
            rows = [tokens(pieces, f"{name} is {word}present.") for word in ("", "not ")]
            texts = model.text(torch.tensor([row[0] for row in rows]),
                               torch.tensor([row[1] for row in rows]))
            text_seconds += time.perf_counter() - at
            at = time.perf_counter()
            latent = model.image(volume)
            image_seconds += time.perf_counter() - at
            cosines = (latent @ texts.t())[0] * np.e
            probabilities[name] = float(cosines.softmax(0)[0])
    result = {"seconds": {"read": read, "resample": resample, "image": image_seconds,
                          "text": text_seconds, "all": time.perf_counter() - start},
              "probabilities": probabilities}
    with open(arguments.out, "w", encoding="utf-8") if arguments.out else sys.stdout as file:
        json.dump(result, file)
        file.write("\n")


def compare(ours, theirs):
    with open(ours, encoding="utf-8") as file:
        ours = json.load(file)["predictions"][0]["probabilities"]
    with open(theirs, encoding="utf-8") as file:
        theirs = json.load(file)["probabilities"]
    worst = max(abs(ours[name] - theirs[name]) for name in FINDINGS)
    print(f"largest difference of the 18 probabilities: {worst:.1e}, between "
          f"{min(theirs.values()):.3f} and {max(theirs.values()):.3f}")
    return 0 if worst < 1e-4 else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["weights", "predict", "compare"])
    parser.add_argument("volume", help="the volume, the weights to write, or tricot's result")
    parser.add_argument("reference", nargs="?")
    parser.add_argument("--weights")
    parser.add_argument("--vocab")
    parser.add_argument("--spacing", type=float, nargs=2, help="mm in a slice, and between slices")
    parser.add_argument("--out")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "weights":
        make_weights(arguments.volume)
    elif arguments.what == "compare":
        return compare(arguments.volume, arguments.reference)
    else:
        predict(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
