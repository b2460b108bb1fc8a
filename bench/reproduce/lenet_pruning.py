#!/usr/bin/env python3
"""The talk's table of pruned networks (CARBIN, from HAN2015), its LeNet rows: test error and weights before and after, the seed's
figures beside ours. usage: lenet_pruning.py MNIST_DIR [lenet-5]"""
import json
import os
import subprocess
import sys
import tempfile

DEFT = "build/deft"
SEED = {"lenet-300-100": (1.64, 1.59, 12), "lenet-5": (0.80, 0.77, 12)}  # error %, error pruned %, times fewer weights


def deft(*args):
    out = subprocess.run([DEFT, *args, "--json", "--quiet"], stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def reproduce(net, data, folder):
    new, trained, fast = (os.path.join(folder, net + suffix) for suffix in (".new.onnx", ".onnx", ".deft"))
    deft("new", net, "-o", new)
    deft("train", new, "--data", data, "-o", trained)
    chosen = deft("optimize", trained, "--data", data, "--max-drop", "0.2", "-o", fast)[-1]
    dense, pruned, fewer = SEED[net]
    print(f"{net:14} seed: {dense:.2f}% -> {pruned:.2f}% with {fewer:.0f}x fewer weights   "
          f"deft: {100 - 100 * chosen['accuracy_dense']:.2f}% -> {100 - 100 * chosen['accuracy_fast']:.2f}% "
          f"with {1 / (1 - chosen['zeros']):.0f}x fewer weights")


def main():
    if len(sys.argv) < 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for net in ["lenet-300-100", *sys.argv[2:]]:
            reproduce(net, "mnist:" + sys.argv[1], folder)


main()
