#!/usr/bin/env python3
"""CifarNet and ResNet-20 on CIFAR-10: trained; then pruned while they go on training, the zeros growing on a cubic
schedule and the mask moving, with the dense network as the teacher; then settled under the mask on pictures that are
changed less. For some seeds; mean and spread (smallest to largest). Every line that deft prints of a training goes to LOGS/NET.jsonl
as it comes, with the network, the seed and the stage. Stopped at any moment and called again, it goes on: what the log
says is done is kept where its model is in WORK, and a training under way resumes from its checkpoint.

usage: cifar_pruning.py CIFAR10_DIR [--nets cifarnet,resnet-20] [--seeds 1,2,3] [--epochs E] [--threads T] [--logs DIR] [--work DIR]"""
import argparse
import json
import os
import statistics
import subprocess

DEFT = "build/deft"
HERE = os.path.dirname(os.path.abspath(__file__))

SGD = ["--batch", "128", "--optimizer", "nesterov", "--schedule", "cosine", "--clip", "0"]
STAGES = ["dense", "pruned", "settled"]

# of each stage what is done to the pictures, epochs, rate, weight decay and what else; seeds; least accuracy (%); largest
# drop (points)
RECIPES = {
    "cifarnet": dict(dense=("augment=crop,flip:normalize", 60, 0.05, 5e-4, "--warmup 0.5"),
                     pruned=("augment=crop,flip:normalize", 60, 0.05, 5e-5, "--zeros 0.9 --cubic --move 0.3"),
                     settled=("augment=flip:normalize", 8, 0.01, 5e-5, "--keep-zeros"),
                     seeds=[1, 2, 3], accuracy=80, drop=0.5),
    "resnet-20": dict(dense=("augment=crop,flip,cutout:normalize:validation=500", 90, 0.1, 5e-4, "--warmup 0.5"),
                      pruned=("augment=crop,flip,cutout:normalize:validation=500", 30, 0.05, 5e-4,
                              "--zeros 0.8 --cubic --move 0.1 --every 400"),
                      settled=("augment=flip:normalize:validation=500", 4, 0.005, 5e-5, "--keep-zeros"),
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


def run(log, seed, stage, command, data, folder, output, options, threads):
    """From its checkpoint if there is one. Of the command, the log has what is no file."""
    if not os.path.exists(output + ".checkpoint"):
        log.forget(seed, stage)
        log.add(seed, stage, dict(kind="options", options=" ".join([command[0], "--data", data, *options])))
    command = [DEFT, *command, "--data", f"{data}:{folder}", "-o", output, *options, "--seed", str(seed), "--threads", str(threads), "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if row.get("kind") in ("epoch", "outcome"):
                log.add(seed, stage, {key: value for key, value in row.items() if key != "file"})
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")


def train_and_prune(net, seed, folder, epochs, threads, log, work):
    """Test accuracies in per cent, after each stage."""
    recipe = RECIPES[net]
    model, dense, pruned, settled = [os.path.join(work, f"{net}-{seed}.{name}.onnx") for name in ("new", *STAGES)]
    if not os.path.exists(model):
        subprocess.run([DEFT, "new", net, "-o", model, "--seed", str(seed), "--quiet"], stdout=subprocess.DEVNULL, check=True)
    for stage, command, output in [("dense", ["train", model], dense), ("pruned", ["prune", dense], pruned),
                                   ("settled", ["train", pruned, "--teacher", dense], settled)]:
        data, length, rate, decay, more = recipe[stage]
        options = ["--epochs", str(epochs or length), "--learning-rate", str(rate), *more.split(), *SGD, "--weight-decay", str(decay)]
        if not (log.outcome(seed, stage) and os.path.exists(output)):
            run(log, seed, stage, command, f"{data}:cifar10", folder, output, options, threads)
    return [100 * log.outcome(seed, stage)["accuracy_test"] for stage in STAGES]


def spread(values):
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(net, results, zeros):
    recipe, count = RECIPES[net], len(results)
    dense, pruned, settled = zip(*results)
    print(f"{net}, {count} seed{'s' * (count > 1)}: test accuracy {spread(dense)}%; {100 * zeros:.4g}% zeros:")
    for stage, accuracy in ("pruned", pruned), ("settled", settled):
        drops = [a - b for a, b in zip(dense, accuracy)]
        print(f"  {stage:8} {spread(accuracy)}%   drop {spread(drops)} points")
    met = statistics.mean(dense) >= recipe["accuracy"] and statistics.mean(drops) <= recipe["drop"]
    print(f"  bar: {recipe['accuracy']}%, a drop of {recipe['drop']} points: {'met' if met else 'not met'}", flush=True)


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
            report(net, results, log.outcome(seed, "pruned")["share"])


main()
