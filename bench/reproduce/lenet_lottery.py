#!/usr/bin/env python3
"""The talk's pruned and lottery-ticket LeNets on MNIST (CARBIN; HAN2015, FRANKLE2019), three seeds each.

Pruning: train, prune to a twelfth of the weights and fine-tune (deft prune: distillation from the dense network), prune that
further and fine-tune. Lottery: iterative magnitude pruning to 3.4% of the weights, reset to initialisation, and there the
same places reinitialised and random places. Writes logs/NET-pruning.jsonl and logs/NET-lottery.jsonl beside this script
(deft report plots the latter) and prints the tables. Stopped, it goes on from build/reproduce. Where the logs are whole,
--tables prints the tables without training.
usage: lenet_lottery.py MNIST_DIR [--net lenet-300-100|lenet-5] [--threads N] [--only pruning|lottery] [--tables]"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = os.path.join(ROOT, "bench", "reproduce", "logs")
WORK = os.path.join(ROOT, "build", "reproduce")
SEEDS = 3
FEWER = {"lenet-300-100": (12, 28, 56), "lenet-5": (12, 50, 108)}  # the last: the best that others report
SEED_ERRORS = {"lenet-300-100": (1.64, 1.59), "lenet-5": (0.80, 0.77)}  # the talk: dense, and with 12 times fewer weights
TRAINING = ["--epochs", 12, "--batch", 128, "--learning-rate", 0.1]
LOTTERY = ["--rounds", 8, "--rate", 0.345, "--output-rate", 0.2, "--controls", "both", "--control-every", 8, "--epochs", 8,
           "--batch", 128, "--optimizer", "adam", "--learning-rate", 0.0018, "--weight-decay", 0, "--schedule", "constant"]


def deft(args, *command):
    command = [os.path.join(ROOT, "build", "deft"), *map(str, command), "--threads", str(args.threads), "--json", "--quiet"]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def log_of(args, kind):
    return os.path.join(LOGS, f"{args.net}-{kind}.jsonl")


# ---- pruning ----


def prune_seed(args, data, seed):
    """Trains, prunes, prunes further; each step is skipped where its outcome is in build/reproduce."""
    def step(name, *command):
        model, outcome = (os.path.join(WORK, f"{args.net}-{seed}-{name}{suffix}") for suffix in (".onnx", ".json"))
        if not os.path.exists(outcome):
            line = deft(args, *command, "-o", model, "--seed", seed)[-1]
            with open(outcome, "w") as file:
                json.dump(line, file)
        return model, json.load(open(outcome))

    new, _ = step("new", "new", args.net)
    model, dense = step("dense", "train", new, "--data", data, *TRAINING)
    line = {"kind": "pruned", "net": args.net, "seed": seed, "dense": dense["accuracy_test"],
            "dense_validation": dense["accuracy_validation"]}
    for fewer in FEWER[args.net]:
        zeros = 1 - 1 / (fewer + 0.05)
        model, pruned = step(f"{fewer}x", "prune", model, "--zeros", f"{zeros:.6f}", "--data", data, "--epochs", 12)
        line[f"{fewer}x"] = {"accuracy_test": pruned["accuracy_test"], "accuracy_validation": pruned["accuracy_validation"],
                             "times_fewer": pruned["weights"] / (pruned["weights"] - pruned["zeros"])}
    return line


def prune(args, data):
    lines = [prune_seed(args, data, seed) for seed in range(SEEDS)]
    with open(log_of(args, "pruning"), "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def spread(values):
    return f"{statistics.mean(values):6.2f} +- {statistics.stdev(values):.2f}"


def print_pruning(args):
    lines = [json.loads(line) for line in open(log_of(args, "pruning"))]
    print(f"{args.net}, test error in per cent, mean and standard deviation of {len(lines)} seeds")
    print(f"  the talk: {SEED_ERRORS[args.net][0]:.2f} -> {SEED_ERRORS[args.net][1]:.2f} with 12x fewer weights")
    print(f"  dense                 {spread([100 - 100 * l['dense'] for l in lines])}")
    for fewer in FEWER[args.net]:
        rows = [l[f"{fewer}x"] for l in lines]
        worse = [100 * (l["dense"] - r["accuracy_test"]) for l, r in zip(lines, rows)]
        print(f"  {min(r['times_fewer'] for r in rows):4.1f}x fewer weights   "
              f"{spread([100 - 100 * r['accuracy_test'] for r in rows])}   worse than dense by {spread(worse)} points")


# ---- lottery ----


def draw(args, data):
    folder, new = os.path.join(WORK, f"{args.net}-tickets"), os.path.join(WORK, f"{args.net}.onnx")
    if not os.path.exists(new):
        deft(args, "new", args.net, "-o", new)
    deft(args, "lottery", new, "--data", data, "-o", folder, "--seeds", SEEDS, *LOTTERY)
    shutil.copy(os.path.join(folder, "log.jsonl"), log_of(args, "lottery"))


def print_lottery(args):
    tickets = [l for l in map(json.loads, open(log_of(args, "lottery"))) if l["kind"] == "ticket"]
    last = max(t["round"] for t in tickets)
    print(f"{args.net}, lottery tickets: test accuracy in per cent, mean and standard deviation of the seeds")
    print("  weights left   ticket          at the end       at early stopping   its step")
    for number in range(last + 1):
        for kind in "winning", "reinitialized", "random":
            mine = [t for t in tickets if t["round"] == number and t["ticket"] == kind]
            if len(mine) > 1:
                print(f"  {100 * mine[0]['weights_left']:11.2f}%   {kind:13}  {spread([100 * t['accuracy_test'] for t in mine])}"
                      f"   {spread([100 * t['stop_accuracy_test'] for t in mine])}   {spread([t['stop_step'] for t in mine])}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("mnist")
    parser.add_argument("--net", choices=sorted(FEWER), default="lenet-300-100")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=["pruning", "lottery"])
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    if not os.path.isdir(args.mnist):
        sys.exit(f"lenet_lottery: {args.mnist}: there is no such folder")
    data = "mnist:" + args.mnist
    os.makedirs(WORK, exist_ok=True)
    os.makedirs(LOGS, exist_ok=True)
    for kind, run, show in ("pruning", prune, print_pruning), ("lottery", draw, print_lottery):
        if args.only in (None, kind):
            if not args.tables:
                run(args, data)
            show(args)


main()
