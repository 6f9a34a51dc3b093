"""The peers: what each is, what it can do, and the process that it runs in.

Every process, tricot's included, is bound to the first `threads` processors that it may use, and
gets as many threads. "Tuned" is what a user of PyTorch can do without touching the code: memory
that is freed stays with the process, in huge pages (else most of the time is page faults);
for Debian's PyTorch also OpenBLAS for this processor in place of the reference BLAS.
"""
import dataclasses
import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "out", "peers")
DEBIAN, NEW = "/usr/bin/python3", os.path.join(OUT, "venv", "bin", "python")
INFERENCE, TRAINING = {"forward"}, {"train", "clip"}
ALL = {"forward", "train", "clip", "zeroshot"}


@dataclasses.dataclass
class Peer:
    label: str
    does: set                   # the kinds of work
    python: str = DEBIAN
    program: str = "torch_peer.py"
    how: str = "eager"
    tuned: bool = True
    search: bool = False        # PyTorch's compiler measures kernels to choose from
    last: bool = False          # channels last
    bf16: bool = False          # computes in bf16 where the job does; else in f32
    own: bool = False           # tricot itself, in another way


PEERS = {
    "stock": Peer("Debian's PyTorch, eager, nothing set", ALL, tuned=False),
    "tuned": Peer("Debian's PyTorch, eager, tuned", ALL),
    "traced": Peer("Debian's PyTorch, traced, frozen, optimized, tuned", INFERENCE | {"zeroshot"},
                   how="traced"),
    "eager": Peer("current PyTorch, eager, tuned", ALL, NEW, bf16=True),
    "compile": Peer("current PyTorch, torch.compile, tuned", ALL, NEW, how="compile", bf16=True),
    "compile-last": Peer("the same, channels last", {"forward", "train", "zeroshot", "clip"}, NEW,
                         how="compile", last=True, bf16=True),
    "compile-search": Peer("the same with max_autotune", ALL, NEW, how="compile", search=True,
                           bf16=True),
    "onnxruntime": Peer("ONNX Runtime", INFERENCE, NEW, "onnx_peer.py", "onnxruntime"),
    "openvino": Peer("OpenVINO", INFERENCE, NEW, "onnx_peer.py", "openvino", bf16=True),
    "own-f32": Peer("tricot in f32", ALL, own=True),
    "own-reference": Peer("tricot by the reference procedure", {"zeroshot"}, own=True),
}


class Failed(Exception):
    """A process failed; the text says which and how."""


@dataclasses.dataclass
class Machine:
    """Where processes run: `threads` on the processors `cpus`."""
    threads: int

    def __post_init__(self):
        self.cpus = sorted(os.sched_getaffinity(0))[:self.threads]
        if len(self.cpus) < self.threads:
            raise SystemExit(f"peers: error: only {len(self.cpus)} processors for --threads")
        with open("/proc/cpuinfo", encoding="ascii") as file:
            self.avx512 = " avx512f " in file.read()

    def environment(self, peer):
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("MALLOC_", "OMP_", "GOMP_", "OPENBLAS_", "MKL_", "KMP_"))
                 and name not in ("LD_LIBRARY_PATH", "GLIBC_TUNABLES")}
        if peer is None or peer.own:
            return clean
        clean["OMP_NUM_THREADS"] = str(self.threads)
        if not peer.tuned:
            return clean
        clean.update({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000",
                      "MALLOC_TOP_PAD_": "1000000000",
                      "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
                      "OMP_PROC_BIND": "true", "OMP_PLACES": "cores"})
        if peer.python == DEBIAN:
            folder = os.path.join(OUT, "openblas")
            if not os.path.exists(folder):
                raise SystemExit("peers: error: no OpenBLAS; run bench/peers_setup.sh")
            clean["LD_LIBRARY_PATH"] = f"{folder}:{os.path.dirname(os.path.realpath(folder))}"
            if self.avx512:  # its own choice is an older processor's kernels
                clean["OPENBLAS_CORETYPE"] = "SKYLAKEX"
        else:
            clean["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(OUT, "inductor")
        return clean

    def run(self, command, peer=None):
        """What the command prints, and its peak memory in MiB."""
        cpus = ",".join(map(str, self.cpus))
        process = subprocess.Popen(["taskset", "-c", cpus] + command, cwd=ROOT,
                                   env=self.environment(peer), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        out, errors = process.stdout.read, process.stderr.read
        text, complaints = read_both(process, out, errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = "\n".join(complaints.strip().splitlines()[-12:])
            raise Failed(f"{' '.join(command)}\nstatus {process.returncode}\n{last}")
        return text, usage.ru_maxrss / 1024

    def tricot(self, arguments):
        return self.run(["build/tricot"] + arguments + ["--threads", str(self.threads)])

    def worker(self, peer, settings, path):
        """A peer's process; path is where its settings are written."""
        settings = dict(settings, how=settings.get("how", peer.how), search=peer.search,
                        last=peer.last, threads=self.threads)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(settings, file, indent=1)
        text, peak = self.run([peer.python, f"bench/{peer.program}", path], peer)
        answer = [line for line in text.splitlines() if line.startswith("{")]
        return (json.loads(answer[-1]) if answer else {}), peak

    def pinning(self):
        cpus = ",".join(map(str, self.cpus))
        return (f"every process under `taskset -c {cpus}`, {self.threads} threads; tuned PyTorch "
                "with OMP_PROC_BIND=true OMP_PLACES=cores, ONNX Runtime by thread affinities, "
                "OpenVINO by ENABLE_CPU_PINNING, tricot one worker a processor")


def read_both(process, out, errors):
    """Both streams to their ends, so that neither fills up."""
    import threading
    kept = []
    reader = threading.Thread(target=lambda: kept.append(errors()))
    reader.start()
    text = out()
    reader.join()
    process.stdout.close()
    process.stderr.close()
    return text, kept[0]
