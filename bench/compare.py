"""tricot and its peers on the same work, in turns. bench/peers.sh runs this; docs/benchmarks.md.

First every peer's results are compared with tricot's, on the same weights and inputs; a difference
ends the run. Then, in every round, each peer is measured right after tricot, every process anew. A
round's number is the median of its runs; the table has the median of the rounds, and the median and
the extremes of the ratios of neighbours.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time

import tensors
from contenders import NEW, OUT, PEERS, ROOT, Failed, Machine
from jobs import JOBS, job

DATA = os.path.join(ROOT, "..", "shared", "data")


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


def check(work, ours, name):
    """Compares a peer's results with tricot's; a difference ends the run."""
    peer = PEERS[name]
    if peer.own:
        return []
    theirs, peak = work.peer_results(name)
    say(f"{name}: {peak:.0f} MiB at the peak")
    start = None
    if work.kind == "train":
        start = tensors.load(work.file("weights.safetensors"))
    found = []
    for kind, count, distance in tensors.distances(theirs, ours, start):
        limit = work.limits[kind]
        found.append({"kind": kind, "tensors": count, "distance": distance, "limit": limit})
        say(f"{name}: {kind}, {count} tensors, relative difference {distance:.1e}")
        if not distance <= limit:
            raise SystemExit(f"peers: error: {work.name}: {kind} of {name} and tricot differ by "
                             f"{distance:.1e}, more than {limit:.0e}")
    if set(work.limits) - {row["kind"] for row in found}:
        raise SystemExit(f"peers: error: {work.name}: {name} gave no {', '.join(work.limits)}")
    return found


def measure(work, names, rounds):
    """For every peer rows of {tricot, peer: seconds; MiB of both}, and the peers' versions."""
    rows, versions = {name: [] for name in names}, {}
    for turn in range(rounds):
        for name in names:
            say(f"round {turn + 1} of {rounds}, {name}")
            ours, our_peak = work.times()
            if PEERS[name].own:
                theirs, peak = work.own_times(name)
            else:
                theirs, peak, versions[name] = work.peer_times(name)
            rows[name].append({"tricot": statistics.median(ours), "tricot_mib": our_peak,
                               "peer": statistics.median(theirs), "peer_mib": peak})
    return rows, versions


def seconds(value):
    return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def table(work, rows, versions):
    ours = [row for each in rows.values() for row in each]
    lines = [f"### {work.name}: {work.title}", "",
             "| | time | peak memory, MiB | against tricot | lowest to highest |",
             "|---|---|---|---|---|"]

    def line(label, key, found, ratios):
        middle = statistics.median(row[key] for row in found)
        peak = max(row[key + "_mib"] for row in found)
        text = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
        if work.kind == "clip":
            label += f" ({work.batch / middle:.2f} volumes/s)"
        lines.append(f"| {label} | {seconds(middle)} | {peak:.0f} | {text} |")

    line("tricot", "tricot", ours, [1.0])
    for name, found in rows.items():
        label = PEERS[name].label
        if work.precision == "bf16" and not PEERS[name].own:
            label += " in bf16" if PEERS[name].bf16 else " in f32"
        if name in versions:
            label += f" ({versions[name]})"
        line(label, "peer", found, [row["peer"] / row["tricot"] for row in found])
    return lines


def facts(machine):
    def output(*command):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                              check=False).stdout.strip()

    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = next(line.split(": ")[1].strip() for line in file if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    return {
        "command": "bench/peers.sh " + shlex.join(sys.argv[1:]),
        "tricot": f"{output('build/tricot', '--version')}, commit "
                  f"{output('git', 'describe', '--always', '--dirty')}",
        "machine": f"{model}, {os.cpu_count()} processors seen, {memory:.0f} GiB, "
                   f"Linux {platform.release().split('-')[0]}",
        "pinning": machine.pinning(), "load": os.getloadavg()[0], "date": time.strftime("%F"),
    }


def chosen_peers(work, wanted):
    names = wanted or work.peers
    if names == ["all"]:
        names = [name for name, peer in PEERS.items() if not peer.own or name in work.peers]
    found = [name for name in names if work.kind in PEERS[name].does]
    present = [name for name in found if PEERS[name].python != NEW or os.path.exists(NEW)]
    for name in set(found) - set(present):
        say(f"{work.name}: without {name}, which bench/peers_setup.sh --new installs")
    return present


def options_of(arguments):
    def size(text):
        return [int(n) for n in text.split(",")]

    def peers(text):
        names = text.split(",")
        for name in names:
            if name not in PEERS and names != ["all"]:
                raise argparse.ArgumentTypeError(f"no peer {name}; there are {', '.join(PEERS)}")
        return names

    def present(path):
        return path if os.path.exists(path) else None

    parser = argparse.ArgumentParser(prog="bench/peers.sh", description=__doc__.split("\n")[0])
    parser.add_argument("jobs", nargs="+", choices=JOBS, metavar="JOB",
                        help=", ".join(JOBS))
    parser.add_argument("--peers", type=peers, metavar="A,B", help="all, or of " + ", ".join(PEERS))
    parser.add_argument("--rounds", type=int, help="default 5, 1 with --quick; 0 only compares "
                        "results")
    parser.add_argument("--repeat", type=int, help="runs of a round, default 7; 2 with --quick")
    parser.add_argument("--seconds", type=float, default=20, help="a peer's runs of a round end "
                        "after these, but for three (default %(default)s)")
    parser.add_argument("--quick", action="store_true",
                        help="small volumes, one round: tries the script, times mean nothing")
    parser.add_argument("--volume", type=size, metavar="D,H,W", help="another size of the volume")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reports", metavar="CSV", help="texts for text and clip",
                        default=present(f"{DATA}/reports/ctclip_text_classifier_train.csv"))
    parser.add_argument("--vocab", metavar="FILE", help="BERT's vocabulary",
                        default=present(f"{DATA}/tokenizer/bert-base-uncased_vocab.txt"))
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    options.repeat = options.repeat or (2 if options.quick else 7)
    return options


def run(name, machine, options):
    work = job(name, machine, options)
    say(f"{name}: making weights and inputs")
    work.prepare()
    names = chosen_peers(work, options.peers)
    if not names:
        raise SystemExit(f"peers: error: no peer is left for {name}")
    ours = work.results()
    compared = {peer: check(work, ours, peer) for peer in names}
    del ours
    rows, versions = measure(work, names, options.rounds)
    if options.rounds:
        print("\n".join(table(work, rows, versions)), "\n", flush=True)
    return {"job": name, "title": work.title, "compared": compared, "rounds": rows,
            "versions": versions}


def main():
    options = options_of(sys.argv[1:])
    os.chdir(ROOT)
    machine = Machine(options.threads)
    told = facts(machine)
    if told["load"] > 0.5:
        say(f"the machine is busy (load {told['load']:.1f}): times will not mean much")
    found = {"about": told, "jobs": []}
    folder = os.path.join(OUT, "results")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, time.strftime("%Y%m%d-%H%M%S.json"))
    for name in options.jobs:
        try:
            found["jobs"].append(run(name, machine, options))
        except Failed as failed:
            raise SystemExit(f"peers: error: {name}: {failed}") from None
        with open(path, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    if options.rounds:
        print(f"Medians of {options.rounds} rounds of {options.repeat} runs, in turns"
              f"{'; a quick try, times mean nothing' if options.quick else ''}.\n")
    for key, value in told.items():
        print(f"- {key}: {value}")
    say(f"wrote {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
