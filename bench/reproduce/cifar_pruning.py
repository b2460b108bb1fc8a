#!/usr/bin/env python3
"""CifarNet and ResNet-20 on CIFAR-10: trained, then pruned in rounds: each sets the smallest weights to zero and trains
what is left, the rate begun anew, with the dense network as the teacher; for some seeds; mean and spread (smallest to
largest). Every line that deft prints goes to LOGS/NET.jsonl as it comes, with the network, the seed and the stage. Stopped at
any moment and called again, it goes on: what the log says is done is kept where its model is in WORK, and a
training under way resumes from its checkpoint.

usage: cifar_pruning.py CIFAR10_DIR [--nets cifarnet,resnet-20] [--seeds 1,2,3] [--epochs E] [--threads T] [--logs DIR] [--work DIR]"""
import argparse
import json
import os
import statistics
import subprocess

DEFT = "build/deft"
HERE = os.path.dirname(os.path.abspath(__file__))

SGD = ["--batch", "128", "--optimizer", "nesterov", "--schedule", "cosine", "--clip", "0"]
DENSE = [*SGD, "--warmup", "0.5", "--weight-decay", "0.0005"]
SPARSE = [*SGD, "--keep-zeros", "--weight-decay", "0.00005"]

# the data's options; epochs and rate of the training; zeros, epochs and rate of each round; seeds; least accuracy (%);
# largest drop (points)
RECIPES = {
    "cifarnet": dict(data="augment=crop,flip:normalize", epochs=60, rate=0.05, rounds=[(0.6, 25, 0.05), (0.8, 25, 0.05), (0.9, 60, 0.1)],
                     seeds=[1, 2, 3], accuracy=80, drop=0.5),
    "resnet-20": dict(data="augment=crop,flip,cutout:normalize:validation=500", epochs=90, rate=0.1, rounds=[(0.5, 15, 0.05), (0.8, 30, 0.05)],
                      seeds=[1], accuracy=90, drop=0.5),
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


def train(log, seed, stage, model, output, files, options, threads):
    """From its checkpoint if there is one; returns the outcome. Of the command, the log has the options but for files."""
    if not os.path.exists(output + ".checkpoint"):
        log.forget(seed, stage)
        log.add(seed, stage, dict(kind="options", options=" ".join(options)))
    command = [DEFT, "train", model, "-o", output, *files, *options, "--seed", str(seed), "--threads", str(threads), "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if row.get("kind") in ("epoch", "outcome"):
                log.add(seed, stage, {key: value for key, value in row.items() if key != "file"})
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return log.outcome(seed, stage)


def deft(*command):
    subprocess.run([DEFT, *command, "--quiet"], stdout=subprocess.DEVNULL, check=True)


def train_and_prune(net, seed, data, epochs, threads, log, work):
    """Test accuracies in per cent, of the dense network and after each round."""
    recipe = RECIPES[net]
    stages = ["dense", *(f"zeros-{zeros}" for zeros, _, _ in recipe["rounds"])]
    model, dense, *_ = files = [os.path.join(work, f"{net}-{seed}.{name}.onnx") for name in ("new", *stages)]
    data = ["--data", f"{recipe['data']}:cifar10:{data}"]

    def options(length, rate):
        return ["--epochs", str(epochs or length), "--learning-rate", str(rate)]

    if not all(log.outcome(seed, stage) for stage in stages):
        if not os.path.exists(model):
            deft("new", net, "-o", model, "--seed", str(seed))
        if not os.path.exists(dense):
            train(log, seed, "dense", model, dense, data, options(recipe["epochs"], recipe["rate"]) + DENSE, threads)
        for (zeros, length, rate), stage, before, after in zip(recipe["rounds"], stages[1:], files[1:], files[2:]):
            begun = after.replace(".onnx", ".begun.onnx")
            if not os.path.exists(after):
                deft("prune", before, "--zeros", str(zeros), "-o", begun)
                train(log, seed, stage, begun, after, [*data, "--teacher", dense], options(length, rate) + SPARSE, threads)
    return [100 * log.outcome(seed, stage)["accuracy_test"] for stage in stages]


def spread(values):
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(net, results):
    recipe, count = RECIPES[net], len(results)
    dense, *pruned = zip(*results)
    print(f"{net}, {count} seed{'s' * (count > 1)}: test accuracy {spread(dense)}%")
    for (zeros, _, _), accuracy in zip(recipe["rounds"], pruned):
        drops = [a - b for a, b in zip(dense, accuracy)]
        print(f"  {100 * zeros:g}% zeros   {spread(accuracy)}%   drop {spread(drops)} points")
    met = statistics.mean(dense) >= recipe["accuracy"] and statistics.mean(drops) <= recipe["drop"]
    print(f"  bar: {recipe['accuracy']}%, a drop of {recipe['drop']} points in the last round: {'met' if met else 'not met'}", flush=True)


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
