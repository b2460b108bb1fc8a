#!/usr/bin/env python3
"""CifarNet and ResNet-20 on CIFAR-10: trained, then pruned by magnitude on a cubic schedule while they are fine-tuned,
for some seeds; mean and spread (smallest to largest). Every line that deft prints goes to LOGS/NET.jsonl as it comes, with the
network, the seed and the stage. Stopped at any moment and called again, it goes on: what the log says is done is
kept where its model is in WORK, and a training under way resumes from its checkpoint.

usage: cifar_pruning.py CIFAR10_DIR [--nets cifarnet,resnet-20] [--seeds 1,2,3] [--epochs E] [--threads T] [--logs DIR] [--work DIR]"""
import argparse
import json
import os
import statistics
import subprocess

DEFT = "build/deft"
HERE = os.path.dirname(os.path.abspath(__file__))

# epochs, options of the training, zeros, epochs of pruning, its options, seeds, least accuracy (%), largest drop (points)
RECIPES = {
    "cifarnet": dict(
        augment="crop,flip", epochs=60, train=["--batch", "128", "--optimizer", "nesterov", "--learning-rate", "0.05", "--schedule", "cosine",
                          "--warmup", "0.5", "--weight-decay", "0.0005", "--clip", "0"],
        zeros=0.9, prune_epochs=25, prune=["--learning-rate", "0.05"], seeds=[1, 2, 3], accuracy=80, drop=0.5),
    "resnet-20": dict(
        augment="crop,flip", epochs=30, train=["--batch", "128", "--optimizer", "nesterov", "--learning-rate", "0.1", "--schedule", "cosine",
                          "--warmup", "0.5", "--weight-decay", "0.0005", "--clip", "0"],
        zeros=0.8, prune_epochs=15, prune=["--learning-rate", "0.05"], seeds=[1], accuracy=90, drop=0.5),
}


class Log:
    """The lines of one network, on disk as soon as they are there."""

    def __init__(self, folder, net):
        os.makedirs(folder, exist_ok=True)
        self.path, self.net, self.rows = os.path.join(folder, net + ".jsonl"), net, []
        if os.path.exists(self.path):
            with open(self.path) as file:
                self.rows = [json.loads(line) for line in file]

    def add(self, seed, stage, row):
        row = dict(network=self.net, seed=seed, stage=stage, **row)
        self.rows.append(row)
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def forget(self, seed, stage):
        self.rows = [row for row in self.rows if (row["seed"], row["stage"]) != (seed, stage)]
        with open(self.path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.rows)

    def outcome(self, seed, stage):
        found = [r for r in self.rows if (r["seed"], r["stage"], r["kind"]) == (seed, stage, "outcome")]
        return found[-1] if found else None


def run(log, seed, stage, files, output, options, threads):
    """Runs deft, from its checkpoint if there is one, and returns the outcome. Of the command, the log has the options."""
    if not os.path.exists(output + ".checkpoint"):
        log.forget(seed, stage)
        log.add(seed, stage, dict(kind="options", options=" ".join(options)))
    command = [DEFT, stage, *files, "-o", output, *options, "--seed", str(seed), "--threads", str(threads), "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as deft:
        for line in deft.stdout:
            row = json.loads(line)
            if row.get("kind") in ("epoch", "outcome"):
                log.add(seed, stage, {key: value for key, value in row.items() if key != "file"})
    if deft.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {deft.returncode}")
    return log.outcome(seed, stage)


def train_and_prune(net, seed, data, epochs, threads, log, work):
    recipe = RECIPES[net]
    new, dense, pruned = (os.path.join(work, f"{net}-{seed}.{name}.onnx") for name in ("new", "dense", "pruned"))
    if not os.path.exists(new):
        subprocess.run([DEFT, "new", net, "-o", new, "--seed", str(seed), "--quiet"], stdout=subprocess.DEVNULL, check=True)
    data = f"augment={recipe['augment']}:normalize:cifar10:{data}"
    trained, after = log.outcome(seed, "train"), log.outcome(seed, "prune")
    if not trained or not (after or os.path.exists(dense)):
        trained = run(log, seed, "train", [new, "--data", data], dense,
                      ["--epochs", str(epochs or recipe["epochs"]), *recipe["train"]], threads)
    if not after:
        after = run(log, seed, "prune", [dense, "--data", data], pruned,
                    ["--epochs", str(epochs or recipe["prune_epochs"]), "--zeros", str(recipe["zeros"]), "--schedule", "cubic",
                     *recipe["prune"]], threads)
    return 100 * trained["accuracy_test"], 100 * after["accuracy_test"], after["share"]


def spread(values):
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(net, results):
    recipe = RECIPES[net]
    dense, pruned = [r[0] for r in results], [r[1] for r in results]
    drop = [a - b for a, b in zip(dense, pruned)]
    met = statistics.mean(dense) >= recipe["accuracy"] and statistics.mean(drop) <= recipe["drop"]
    print(f"{net:10} {len(results)} seeds   test accuracy {spread(dense)}%, with {100 * statistics.mean(r[2] for r in results):.1f}% "
          f"zeros {spread(pruned)}%   drop {spread(drop)} points   bar: {recipe['accuracy']}%, {recipe['drop']} points: "
          f"{'met' if met else 'not met'}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--nets", default=",".join(RECIPES))
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], help="instead of the recipe's")
    parser.add_argument("--epochs", type=int, help="of each stage, instead of the recipe's: to try")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="one each, where several of these run side by side")
    parser.add_argument("--logs", default=os.path.join(HERE, "logs"))
    parser.add_argument("--work", default="build/reproduce")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    for net in args.nets.split(","):
        log, results = Log(args.logs, net), []
        for seed in args.seeds or RECIPES[net]["seeds"]:
            results.append(train_and_prune(net, seed, os.path.abspath(args.data), args.epochs, args.threads, log, args.work))
            report(net, results)


main()
