#!/usr/bin/env python3
"""Pruning without training: the loss against the dense outputs, on samples that pruning did not see, of plain magnitude
pruning (the better of all weights together and layer by layer) and of deft prune --calibrate, at 50% zeros: of LeNet-5 on
MNIST and of the all-MiniLM-L6-v2 encoder (from PyPI). usage: calibrated_pruning.py MNIST_DIR [lenet-5] [minilm]"""
import glob
import gzip
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFT = os.path.join(ROOT, "build", "deft")
ZEROS, EPOCHS, LENGTH = 0.5, 5, 32

loader = importlib.machinery.SourceFileLoader("check_models", os.path.join(ROOT, "tools", "check-models"))
models = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_models", loader))
loader.exec_module(models)  # goes on in the venv, with the packages
import numpy as np


def deft(*args):
    out = subprocess.run([DEFT, *map(str, args), "--json", "--quiet"], stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def outputs(model, inputs, folder):
    """What a model makes of the arrays, by the name of its input."""
    named = []
    for name, array in inputs.items():
        path = os.path.join(folder, name + ".npy")
        np.save(path, array)
        named += ["--input", f"{name}={path}"]
    result = os.path.join(folder, "out.npy")
    deft("run", model, *named, "-o", result)
    return np.load(result)


def compare(name, dense, calibrate, held_out, weight, folder):
    """Prunes both ways. `weight`: which outputs count, 0 or 1."""
    pruned = os.path.join(folder, "pruned.onnx")
    truth = outputs(dense, held_out, folder)

    def loss(*how):
        deft("prune", dense, "--zeros", ZEROS, *how, "-o", pruned)
        return float((weight * (outputs(pruned, held_out, folder) - truth) ** 2).sum() / (weight * truth**2).sum())

    rows = {scope: (loss("--scope", scope), loss("--scope", scope, "--calibrate", calibrate)) for scope in ("global", "layer")}
    magnitude, calibrated = (min(row[i] for row in rows.values()) for i in (0, 1))
    for scope, (plain, second) in rows.items():
        print(f"{name:8} {ZEROS:.0%} zeros, {scope:6}: squared error over squared output: magnitude {plain:.3g}, "
              f"calibrated {second:.3g}")
    print(json.dumps({"kind": "calibrated", "model": name, "zeros": ZEROS, "magnitude": magnitude,
                      "calibrated": calibrated, "ratio": calibrated / magnitude, "by_scope": rows}), flush=True)


def lenet(mnist, folder):
    new, dense = os.path.join(folder, "new.onnx"), os.path.join(folder, "lenet-5.onnx")
    deft("new", "lenet-5", "-o", new)
    deft("train", new, "--data", "mnist:" + mnist, "--epochs", EPOCHS, "--batch", 128, "--learning-rate", 0.1, "-o",
         dense)
    path, = glob.glob(os.path.join(mnist, "t10k-images-idx3-ubyte*"))
    data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
    images = np.frombuffer(data, np.uint8, offset=16)[:2000 * 784].reshape(-1, 1, 28, 28).astype(np.float32) / 255
    compare("lenet-5", dense, "mnist:" + mnist, {"x": images}, np.float32(1), folder)


def text_windows():
    """The words of this repository's documents, in pieces of LENGTH tokens."""
    words = []
    for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")) + [os.path.join(ROOT, "README.md")]):
        words += open(path, encoding="utf-8").read().split()
    for start in range(0, len(words), LENGTH // 2):
        ids = models.tokens(" ".join(words[start:start + LENGTH // 2]))[:LENGTH]
        yield ids + [0] * (LENGTH - len(ids)), [1] * len(ids) + [0] * (LENGTH - len(ids))


def minilm(mnist, folder):
    dense, samples = os.path.join(folder, "minilm.onnx"), os.path.join(folder, "text.npz")
    models.minilm(dense)
    ids, mask = (np.array(column, np.int64) for column in zip(*text_windows()))
    order = np.random.default_rng(0).permutation(len(ids))[:320]
    seen, unseen = order[:256], order[256:]
    np.savez(samples, input_ids=ids[seen], attention_mask=mask[seen], token_type_ids=0 * ids[seen])
    held_out = {"input_ids": ids[unseen], "attention_mask": mask[unseen], "token_type_ids": 0 * ids[unseen]}
    compare("minilm", dense, "npz:" + samples, held_out, mask[unseen][:, :, None], folder)


def main():
    wanted = sys.argv[2:] or ["lenet-5", "minilm"]
    if len(sys.argv) < 2 or not os.path.isdir(sys.argv[1]) or not set(wanted) <= {"lenet-5", "minilm"}:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            (lenet if name == "lenet-5" else minilm)(os.path.abspath(sys.argv[1]), folder)


main()
