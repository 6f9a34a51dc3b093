"""Weights and inputs of a comparison, made with PyTorch: `inputs.py SETTINGS.json`.

Writes the files of the settings `weights` and `inputs` where they are missing: random weights of
`model`, and noise volumes [batch,1,D,H,W] of `volume` with a `target` for the training's loss.
"""
import os

import torch

import models
import tensors
import worker


def make_inputs(told):
    volume = models.noise(told["batch"], told["volume"]).permute(0, 1, 4, 2, 3)
    arrays = {"volume": volume}
    if told["width"]:
        arrays["target"] = torch.randn([told["batch"], told["width"]],
                                       generator=torch.Generator().manual_seed(2))
    tensors.save(told["inputs"], arrays)


def main():
    told = worker.settings()
    torch.set_num_threads(told["threads"])
    if not os.path.exists(told["weights"]):
        torch.manual_seed(1)
        model = models.settled(models.new(told["model"]))
        tensors.save(told["weights"], model.state_dict())
    if told.get("volume") and not os.path.exists(told["inputs"]):
        make_inputs(told)


if __name__ == "__main__":
    main()
