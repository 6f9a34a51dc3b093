"""The models of models/*.yaml in PyTorch, with their parameter names: DCFormer, BERT, CLIP.

Written once for the comparisons of this folder; they run in PyTorch from 1.13 on. Volumes are
[B,1,H,W,D], the order the network wants, so PyTorch pays no permute.
"""
import math
import re

import torch
from torch import nn
from torch.nn.functional import gelu, normalize, softmax

# dims of the stem and the four stages, blocks of each stage (arXiv 2502.05091)
VARIANTS = {"nano": ((32, 32, 64, 128, 256), (1, 1, 1, 1)),
            "naive": ((32, 64, 128, 256, 512), (2, 2, 2, 2)),
            "tiny": ((64, 96, 192, 384, 768), (2, 3, 3, 2))}
FUSED_ATTENTION = getattr(nn.functional, "scaled_dot_product_attention", None)


class Named(nn.Module):
    """Holds modules under the given names."""

    def __init__(self, /, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


# ---- DCFormer ----

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
    """The result is the mean over the last stage's grid."""

    def __init__(self, variant="nano", kernels=(13, 11, 9, 7)):
        super().__init__()
        dims, blocks = VARIANTS[variant]
        stem = [DecomposedConv(1, dims[0], 7, stride=4)]
        stem += [DecomposedConv(dims[0], dims[0], 3) for _ in range(3)]
        self.s0 = nn.Sequential(nn.Sequential(*stem))
        for s, k in enumerate(kernels):
            stage = [Block(dims[s + 1], k, None if i else dims[s]) for i in range(blocks[s])]
            setattr(self, f"s{s + 1}", nn.Sequential(*stage))

    def forward(self, x):
        x = self.s4(self.s3(self.s2(self.s1(self.s0(x)))))
        return x.mean(dim=(2, 3, 4))


# ---- BERT ----

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

    def attend(self, x, bias):
        batch, length, width = x.shape
        maps = self.attention.self
        q, k, v = (dense(x).view(batch, length, self.heads, -1).transpose(1, 2)
                   for dense in (maps.query, maps.key, maps.value))
        if FUSED_ATTENTION:
            y = FUSED_ATTENTION(q, k, v, attn_mask=bias.to(q.dtype))
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(width / self.heads)
            y = softmax(scores + bias, -1) @ v
        return y.transpose(1, 2).reshape(x.shape)

    def forward(self, x, bias):
        output = self.attention.output
        x = output.LayerNorm(output.dense(self.attend(x, bias)) + x)
        y = self.output.dense(gelu(self.intermediate.dense(x)))
        return self.output.LayerNorm(y + x)


class Bert(Named):
    """The result is the state at [CLS]; BERT base by default."""

    def __init__(self, vocab=30522, positions=512, types=2, width=768, layers=12, heads=12,
                 hidden=3072, eps=1e-12):
        super().__init__(
            embeddings=Named(word_embeddings=nn.Embedding(vocab, width),
                             position_embeddings=nn.Embedding(positions, width),
                             token_type_embeddings=nn.Embedding(types, width),
                             LayerNorm=nn.LayerNorm(width, eps)),
            encoder=Named(layer=nn.ModuleList(Layer(width, heads, hidden, eps)
                                              for _ in range(layers))))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids, mask):
        tables = self.embeddings
        x = tables.LayerNorm(tables.word_embeddings(ids) +
                             tables.position_embeddings.weight[:ids.shape[1]] +
                             tables.token_type_embeddings.weight[0])
        bias = (mask[:, None, None, :].float() - 1) * 10000
        for layer in self.encoder.layer:
            x = layer(x, bias)
        return x[:, 0]


# ---- CLIP ----

class Clip(Named):
    """Both encoders with projections; `learned`: the factor of the cosines is exp(a weight)."""

    def __init__(self, variant="nano", latent=512, learned=False, **text):
        image, words = DCFormer(variant), Bert(**text)
        super().__init__(
            visual_transformer=Named(encoder=image), text_transformer=words,
            to_visual_latent=nn.Linear(VARIANTS[variant][0][-1], latent, bias=False),
            to_text_latent=nn.Linear(words.embeddings.LayerNorm.weight.numel(), latent, bias=False))
        if learned:
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.learned = learned

    def image(self, volumes):
        return normalize(self.to_visual_latent(self.visual_transformer.encoder(volumes)), dim=-1)

    def text(self, ids, mask):
        return normalize(self.to_text_latent(self.text_transformer(ids, mask)), dim=-1)

    def forward(self, volumes, ids, mask):
        """The contrastive loss of the batch's pairs."""
        logits = self.text(ids, mask) @ self.image(volumes).T
        logits = logits * (self.logit_scale.exp() if self.learned else math.e)
        diagonal = torch.arange(len(logits), device=logits.device)
        cross_entropy = nn.functional.cross_entropy
        return (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2


def clip_of(weights, heads):
    """A nano CLIP of the shapes of these weights, with their values."""
    def shape(name):
        return weights["text_transformer." + name].shape

    layers = 1 + max(int(found.group(1)) for found in
                     (re.search(r"encoder\.layer\.(\d+)\.", name) for name in weights) if found)
    vocab, width = shape("embeddings.word_embeddings.weight")
    model = Clip(latent=len(weights["to_visual_latent.weight"]), learned="logit_scale" in weights,
                 vocab=vocab, positions=shape("embeddings.position_embeddings.weight")[0],
                 types=shape("embeddings.token_type_embeddings.weight")[0], width=width,
                 layers=layers, heads=heads, hidden=len(weights[
                     "text_transformer.encoder.layer.0.intermediate.dense.weight"]))
    return fill(model, weights)


# ---- weights ----

def fill(model, weights):
    """Weights from NumPy arrays into the model, which is returned."""
    own = model.state_dict()
    model.load_state_dict({name: torch.tensor(value).to(own[name].dtype).reshape(own[name].shape)
                           for name, value in weights.items()})
    return model


def settled(model, volume=(64, 128, 128)):
    """The new model as after some training, where every part of it shows in the results."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):  # at 1e-6 the blocks would not show
                parameter.uniform_(0.05, 0.5)
        for part in model.modules():
            if isinstance(part, DCFormer):  # running statistics that are not 0 and 1
                part(noise(2, volume))
        if isinstance(model, Clip):  # cosines far enough from 0 to compare
            model.to_visual_latent.weight.normal_()
            model.to_text_latent.weight.normal_()
    return model


def noise(batch, size):
    """A batch of volumes [batch,1,H,W,D] in [-1,1]; size is D, H, W."""
    d, h, w = size
    return 2 * torch.rand([batch, 1, h, w, d], generator=torch.Generator().manual_seed(2)) - 1


def new_optimizer(model, lr, **more):
    """AdamW as tricot's: weights of two and more axes decay, biases, norms and gamma do not."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=lr,
                             betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05, **more)


def new(description):
    """{"name": "dcformer", "bert" or "clip", then the arguments of its class}"""
    arguments = dict(description)
    return {"dcformer": DCFormer, "bert": Bert, "clip": Clip}[arguments.pop("name")](**arguments)
