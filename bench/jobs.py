"""The jobs of peers.sh: what is computed, how tricot is asked, and what a peer is told.

A job makes its files once in a folder of its own, gives results to compare, and measures. The same
weights, inputs and files go to everybody.
"""
import csv
import glob
import json
import os
import re

import samples
import tensors
from contenders import DEBIAN, OUT, PEERS, Peer

MAKER = Peer("", set(), DEBIAN, "inputs.py")
WIDTHS = {"nano": 256, "naive": 512, "tiny": 768}
SEED, RATE = 0, 2.5e-6


def sets(**arguments):
    return [word for name, value in arguments.items() for word in ("--set", f"{name}={value}")]


def shape(volume):
    return "[" + ",".join(map(str, volume)) + "]"


class Job:
    """Everything that the jobs share. `options` are those of the command line."""
    kind = "forward"
    precision = "f32"
    peers = ("tuned", "traced", "eager", "compile", "onnxruntime", "openvino")
    limits = {"pooled": 1e-4}   # of relative distances

    def __init__(self, name, machine, options):
        self.name, self.machine, self.options = name, machine, options
        size = "quick" if options.quick else "full"
        self.folder = os.path.join(OUT, "work", f"{name}-{size}")
        if options.volume:
            self.folder += "-" + "x".join(map(str, options.volume))
        os.makedirs(self.folder, exist_ok=True)

    def file(self, name):
        return os.path.join(self.folder, name)

    def volume(self, full, quick=(48, 64, 80)):
        return self.options.volume or (quick if self.options.quick else full)

    # ---- a peer ----

    def settings(self, peer):
        """What a peer's process is told, but for results and repeats."""
        bf16 = self.precision == "bf16" and peer.bf16
        return {"kind": self.kind, "model": self.model, "precision": "bf16" if bf16 else "f32",
                "weights": self.file("weights.safetensors"),
                "inputs": self.file("inputs.safetensors"), "onnx": self.file("model.onnx"),
                "takes": self.takes, "limit": self.options.seconds, "lr": RATE}

    def ask(self, name, **more):
        peer = PEERS[name]
        settings = dict(self.settings(peer), results=self.file(f"{name}.safetensors"), **more)
        if peer.program == "onnx_peer.py" and not os.path.exists(settings["onnx"]):
            exported = dict(settings, how="export")
            self.machine.worker(peer, exported, self.file("export.json"))
        return self.machine.worker(peer, settings, self.file(f"{name}.json"))

    def peer_results(self, name):
        _, peak = self.ask(name, repeat=0, **self.for_results())
        return tensors.load(self.file(f"{name}.safetensors")), peak

    def peer_times(self, name):
        answer, peak = self.ask(name, repeat=self.options.repeat)
        return answer["seconds"], peak, answer["versions"]

    def for_results(self):
        return {}

    # ---- tricot ----

    def entry(self, f32=False):
        """The arguments that name model, entry point and inputs."""
        raise NotImplementedError

    def given(self):
        return ["--weights", self.file("weights.safetensors"),
                "--inputs", self.file("inputs.safetensors")]

    def results(self):
        self.machine.tricot(["run"] + self.entry() + self.given() +
                            ["--outputs", self.file("tricot.safetensors")])
        return tensors.load(self.file("tricot.safetensors"))

    def bench(self, arguments):
        text, peak = self.machine.tricot(["bench"] + arguments + ["--repeat",
                                         str(self.options.repeat), "--json"])
        return [json.loads(text)["seconds_median"]], peak

    def times(self):
        return self.bench(self.entry() + self.given())

    def make(self, **more):
        settings = {"model": self.model, "weights": self.file("weights.safetensors"),
                    "inputs": self.file("inputs.safetensors"), **more}
        self.machine.worker(MAKER, settings, self.file("make.json"))


class Forward(Job):
    takes = ("volume",)

    def __init__(self, name, machine, options, variant, precision="f32"):
        super().__init__(name, machine, options)
        self.variant, self.precision = variant, precision
        self.size = self.volume((256, 512, 512))
        self.model = {"name": "dcformer", "variant": variant}
        self.title = (f"DCFormer {variant}, forward, {shape(self.size)}, batch 1, {precision}")
        if precision == "bf16":
            self.limits = {"pooled": 5e-2}
            self.peers = ("own-f32", "eager", "compile", "openvino")

    def prepare(self):
        self.make(volume=self.size, batch=1, width=0)

    def entry(self, f32=False):
        wide = [] if f32 or self.precision == "f32" else ["--precision", self.precision]
        return ["models/dcformer.yaml", "--variant", self.variant, "--entry",
                "encode_image"] + sets(volume=shape(self.size), batch=1) + wide

    def own_times(self, _name):
        return self.bench(self.entry(f32=True) + self.given())


class Train(Job):
    kind = "train"
    takes = ("volume",)
    peers = ("tuned", "eager", "compile")
    limits = {"loss": 1e-3, "grad": 1e-2, "param": 2e-2, "statistics": 1e-3}

    def __init__(self, name, machine, options, variant):
        super().__init__(name, machine, options)
        self.variant, self.size = variant, self.volume((128, 256, 256))
        self.model = {"name": "dcformer", "variant": variant}
        self.title = (f"DCFormer {variant}, training step with AdamW, {shape(self.size)}, batch 2, "
                      "f32")

    def prepare(self):
        self.make(volume=self.size, batch=2, width=WIDTHS[self.variant])

    def for_results(self):
        return {"lr": 1e-3}

    def entry(self, f32=False):
        return ["models/dcformer.yaml", "--variant", self.variant, "--entry",
                "train_step"] + sets(volume=shape(self.size), batch=2)

    def results(self):
        self.machine.tricot(["run"] + self.entry() + self.given() + [
            "--lr", "1e-3", "--save-grads", "--save-params", "--outputs",
            self.file("tricot.safetensors")])
        return tensors.load(self.file("tricot.safetensors"))


class WithTexts(Job):
    """Jobs that read texts, with BERT base; with --quick two layers of it."""

    def __init__(self, name, machine, options):
        super().__init__(name, machine, options)
        self.text = {"layers": 2} if options.quick else {}
        self.words = "BERT of two layers" if options.quick else "BERT base"
        self.text_sets = {f"text.{key}": value for key, value in self.text.items()}

    def need(self, *names):
        for name in names:
            if not getattr(self.options, name):
                raise SystemExit(f"peers: error: {self.name} needs --{name} FILE")

    def tokenize(self, *source):
        path = self.file("texts.ids")
        self.machine.run(["build/tricot", "tokenize", "--vocab", self.options.vocab, *source,
                          "--special", "--length", "512", "--output", path])
        return samples.token_lists(path, 512)

    def row_of(self, lists):
        """Tokens of the row that a batch shares: of the four that tricot proposes for the reports,
        the shortest that holds it."""
        text, _ = self.machine.run(["build/tricot", "tokenize", "--vocab", self.options.vocab,
                                    "--corpus", self.options.reports, "--length", "512", "--plan",
                                    str(self.batch)])
        lengths = [shape["length"] for shape in json.loads(text)["packed"]["shapes"]]
        tokens = sum(map(len, lists))
        return min((length for length in lengths if length >= tokens), default=512 * self.batch)


class Text(WithTexts):
    """BERT base over a batch of 8 reports: packed in tricot, padded to 512 tokens elsewhere.

    The batch is the one with the median number of tokens among those in the order of the file.
    """
    takes = ("input_ids", "attention_mask")
    batch = 8

    def __init__(self, name, machine, options, precision="f32"):
        super().__init__(name, machine, options)
        self.precision, self.model = precision, {"name": "bert", **self.text}
        self.need("vocab", "reports")
        if precision == "bf16":
            self.limits = {"pooled": 5e-2}
            self.peers = ("own-f32", "tuned", "eager", "compile", "openvino")

    def prepare(self):
        self.make()
        lists = self.tokenize("--corpus", self.options.reports)
        count = self.batch
        groups = [lists[at:at + count] for at in range(0, len(lists) - count + 1, count)]
        groups.sort(key=lambda group: sum(map(len, group)))
        chosen = groups[len(groups) // 2]
        self.row = self.row_of(chosen)
        arrays = samples.packed(chosen, self.row)
        tensors.save(self.file("packed.safetensors"), arrays)
        tensors.save(self.file("inputs.safetensors"),
                     dict(zip(self.takes, samples.padded(chosen, 512))))
        tokens = sum(map(len, chosen))
        self.title = (f"{self.words}, forward, {count} reports of {tokens} tokens together, "
                      f"{self.precision}: in a row of {self.row} in tricot, padded to "
                      f"{count} rows of 512 elsewhere")

    def entry(self, f32=False):
        wide = [] if f32 or self.precision == "f32" else ["--precision", self.precision]
        return ["models/bert.yaml", "--entry", "encode_text"] + sets(
            batch=self.batch, rows=1, length=self.row, **self.text) + wide

    def given(self):
        return ["--weights", self.file("weights.safetensors"),
                "--inputs", self.file("packed.safetensors")]

    def own_times(self, _name):
        return self.bench(self.entry(f32=True) + self.given())


class Zeroshot(WithTexts):
    """One prepared volume, 18 findings; tricot has encoded the prompts when volumes come."""
    kind = "zeroshot"
    takes = ()
    peers = ("own-reference", "tuned", "traced", "eager", "compile")
    limits = {"probabilities": 1e-4}

    def __init__(self, name, machine, options):
        super().__init__(name, machine, options)
        self.need("vocab")
        self.model = {"name": "clip", "variant": "nano", **self.text}
        self.size = self.volume((256, 512, 512))

    def prepare(self):
        with open("models/clip.yaml", encoding="utf-8") as file:
            found = re.search(r"findings: (\[.*?\])", file.read(), re.S)
        self.findings = json.loads(found.group(1))[:2 if self.options.quick else None]
        self.title = (f"zero-shot of one prepared volume {shape(self.size)}, "
                      f"{len(self.findings)} findings, nano + {self.words}, f32; tricot: "
                      f"one image, prompts encoded before; reference: {len(self.findings)} images, "
                      f"{2 * len(self.findings)} texts of 512")
        self.make(volume=self.size, batch=1, width=0)
        volume = tensors.load(self.file("inputs.safetensors"))["volume"]
        tensors.save(self.file("volume.safetensors"), {"volume": volume[0]})
        with open(self.file("prompts.txt"), "w", encoding="utf-8") as file:
            for name in self.findings:
                file.write(f"{name} is present.\n{name} is not present.\n")
        self.tokenize("--file", self.file("prompts.txt"))

    def settings(self, peer):
        return dict(super().settings(peer), prompts=self.file("texts.ids"), length=512)

    def entry(self, f32=False):
        return ["models/clip-dcformer.yaml", "--variant", "nano", "--weights",
                self.file("weights.safetensors")] + sets(volume=shape(self.size),
                                                         **self.text_sets)

    def predict(self, times):
        text, peak = self.machine.tricot(
            ["predict"] + self.entry() + [self.file("volume.safetensors")] * times +
            ["--vocab", self.options.vocab, "--json"] +
            sets(**{"text.length": 32, "findings": json.dumps(self.findings)}))
        return json.loads(text)["predictions"], peak

    def results(self):
        found = self.predict(1)[0][0]["probabilities"]
        return {"probabilities": samples.np.array([found[name] for name in self.findings])}

    def times(self):
        """The first of the volumes is not counted."""
        found, peak = self.predict(1 + self.options.repeat)
        return [one["seconds"]["encode"] for one in found[1:]], peak

    def own_times(self, _name):
        """The sum of its parts: an image and two texts of 512 tokens for every finding."""
        image, peak = self.bench(self.entry() + ["--entry", "encode_image"] + sets(batch=1))
        text, more = self.bench(self.entry() + ["--entry", "encode_text"] +
                                sets(**{"batch": 2, "text.length": 512}))
        return [len(self.findings) * (image[0] + text[0])], max(peak, more)


class Clip(WithTexts):
    """Training steps as a user runs them, the loader included.

    Made-up volumes with the reports given. tricot reads its cache; in PyTorch a thread reads the
    same voxels ahead, in f32 as they are. Texts are packed in tricot; in PyTorch they are padded to
    the longest of their batch.
    """
    kind = "clip"
    takes = ()
    peers = ("tuned", "eager", "compile")
    limits = {"loss": 1e-3}
    volumes, warm = 8, 2

    def __init__(self, name, machine, options, precision="f32"):
        super().__init__(name, machine, options)
        self.need("vocab", "reports")
        self.precision = precision
        if precision == "bf16":
            self.limits = {"loss": 2e-2}
            self.peers = ("own-f32",) + self.peers
        self.model = {"name": "clip", "variant": "nano", **self.text}
        self.size = self.volume((128, 256, 256), (32, 64, 64))
        self.batch = 2 if options.quick else 4
        self.steps = self.warm + (2 if options.quick else 5)
        self.title = (f"CLIP step, nano + {self.words}, {shape(self.size)}, batch {self.batch}, "
                      f"contrastive loss, AdamW, loader included, {precision}")

    def prepare(self):
        data, cache = self.file("data"), self.file("cache")
        if not os.path.exists(f"{data}/vocab.txt"):
            self.machine.run(["build/tricot", "synth", "--output", data, "--train",
                              str(self.volumes), "--valid", "1", "--size",
                              "x".join(map(str, self.size))])
        names = sorted(map(os.path.basename, glob.glob(f"{data}/dataset/train/*/*/*.nii.gz")),
                       key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        self.names = names
        self.give_reports(f"{data}/radiology_text_reports/train_reports.csv")
        arguments = ["models/clip-dcformer.yaml", "--variant", "nano"] + self.shapes()
        self.machine.run(["build/tricot", "prepare"] + arguments +
                         ["--dataset", data, "--split", "train", "--cache", cache])
        for name in names:
            if not os.path.exists(self.file(f"{name}.npy")):
                self.export(name, cache)
        self.make()
        self.lists = self.tokenize("--corpus", f"{data}/radiology_text_reports/train_reports.csv")

    def give_reports(self, table):
        """The reports of the made-up data become the first of the given ones."""
        with open(self.options.reports, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[:len(self.names)]
        column = "report_text" if "report_text" in rows[0] else "Findings_EN"
        with open(table, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN",
                          "Impressions_EN"])
            for name, row in zip(self.names, rows):
                out.writerow([name, "", "", row[column], row.get("Impressions_EN", "")])

    def export(self, name, cache):
        voxels = glob.glob(f"{cache}/**/{name.split('.')[0]}*.tvol", recursive=True)[0]
        path = self.file("volume.safetensors")
        self.machine.run(["build/tricot", "prepare", "--volume", voxels, "--output", path])
        volume = tensors.load(path)["volume"]  # [1,D,H,W]
        samples.np.save(self.file(f"{name}.npy"),
                        samples.np.ascontiguousarray(volume.transpose(0, 2, 3, 1)))

    def shapes(self):
        spacing = [1.5 * 256 / self.size[0], 0.75 * 512 / self.size[1], 0.75 * 512 / self.size[2]]
        return sets(**{"volume": shape(self.size), "prepare.spacing": shape(spacing)},
                    **self.text_sets)

    def packed_shapes(self):
        orders = list(samples.batches(len(self.names), self.batch, SEED, self.steps))
        rows = {self.row_of([self.lists[n] for n in order]) for order in orders}
        return ",".join(f"1x{length}" for length in sorted(rows))

    def train(self, f32=False):
        out = self.file("tricot")
        precision = "f32" if f32 else self.precision
        _, peak = self.machine.tricot(
            ["train", "models/clip-dcformer.yaml", "--variant", "nano"] + self.shapes() +
            ["--cache", self.file("cache"), "--split", "train", "--vocab", self.options.vocab,
             "--weights", self.file("weights.safetensors"), "--out", out, "--seed", str(SEED),
             "--batch", str(self.batch), "--steps", str(self.steps), "--lr", str(RATE),
             "--precision", precision, "--loss.negatives", "micro",
             "--text-shapes", self.packed_shapes()])
        with open(f"{out}/log.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return rows, peak

    def results(self):
        rows, _ = self.train()
        return {f"step{n}.loss": samples.np.array(float(row["loss"])) for n, row in enumerate(rows)}

    def times(self, f32=False):
        rows, peak = self.train(f32)
        return [float(row["seconds"]) for row in rows[self.warm:]], peak

    def own_times(self, _name):
        return self.times(f32=True)

    def settings(self, peer):
        return dict(super().settings(peer), names=self.names, volumes=self.folder,
                    tokens=self.file("texts.ids"), length=0, batch=self.batch, seed=SEED,
                    steps=self.steps, warm=self.warm)


JOBS = {
    "forward-nano": (Forward, ("nano",)),
    "forward-naive": (Forward, ("naive",)),
    "forward-tiny": (Forward, ("tiny",)),
    "forward-nano-bf16": (Forward, ("nano", "bf16")),
    "train-nano": (Train, ("nano",)),
    "clip": (Clip, ()),
    "clip-bf16": (Clip, ("bf16",)),
    "text": (Text, ()),
    "text-bf16": (Text, ("bf16",)),
    "zeroshot": (Zeroshot, ()),
}


def job(name, machine, options):
    kind, arguments = JOBS[name]
    return kind(name, machine, options, *arguments)
