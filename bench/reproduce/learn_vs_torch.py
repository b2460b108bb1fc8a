#!/usr/bin/env python3
"""What a network learns with Deft and with PyTorch: the same recipe on the same CIFAR-10 pictures, one thread each.

usage: learn_vs_torch.py CIFAR10_DIR [--net resnet-20|cifarnet] [--samples N] [--epochs E] [--jpeg Q] [--alone] [--python PYTHON]

Crops and flips, Nesterov 0.1, batch 128, weight decay 0.0005, cosine after a warm-up of half an epoch; N pictures, of
which the last tenth is held back. Prints the loss of each epoch of either, then the share of the test pictures that it
gets right. The weights begin from different random numbers. PyTorch comes from --python, an interpreter that has it.
--jpeg: what pictures lose costs: they go through JPEG of that quality first, colours at half the resolution (needs
Pillow). --alone: without PyTorch."""
import argparse
import importlib.machinery
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFT = os.path.join(ROOT, "build", "deft")
FILES = [f"data_batch_{i}.bin" for i in range(1, 6)]
RECORD, BATCH, RATE, DECAY, CROP = 3073, 128, 0.1, 5e-4, 4


# ---- PyTorch's side: a process of its own ------------------------------------------------------------------------------


def torch_turn(net_name, folder, epochs):
    import numpy as np
    import torch
    from torch.nn import functional
    torch.set_num_threads(1)
    torch.manual_seed(1)

    def load(name):
        records = np.fromfile(os.path.join(folder, name), np.uint8).reshape(-1, RECORD)
        return (torch.tensor(records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)),
                torch.tensor(records[:, 0].astype(np.int64)))

    def right(x, y):
        net.eval()
        with torch.no_grad():
            found = sum((net(x[i:i + 500]).argmax(1) == y[i:i + 500]).sum().item() for i in range(0, len(x), 500))
        return found / len(x)

    def moved(x):
        x, shifts = functional.pad(x, (CROP,) * 4), torch.randint(2 * CROP + 1, (len(x), 2))
        flips = torch.rand(len(x)) < 0.5
        rows = [picture[:, down:down + 32, across:across + 32] for picture, (down, across) in zip(x, shifts.tolist())]
        return torch.stack([row.flip(2) if flip else row for row, flip in zip(rows, flips)])

    pairs = [load(name) for name in FILES]
    x, y = (torch.cat(parts) for parts in zip(*pairs))
    test_x, test_y = load("test_batch.bin")
    x, y = x[:-(len(x) // 10)], y[:-(len(y) // 10)]
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x, test_x = (x - mean) / deviation, (test_x - mean) / deviation
    contest = importlib.machinery.SourceFileLoader("train_vs_torch", os.path.join(ROOT, "bench", "train_vs_torch"))
    net = contest.load_module().torch_network(net_name).to(memory_format=torch.channels_last)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    rule = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=DECAY)
    steps = len(x) // BATCH
    total, warm = steps * epochs, steps // 2
    for epoch in range(epochs):
        net.train()
        order, loss_sum = torch.randperm(len(x)), 0
        for i in range(steps):
            step = epoch * steps + i
            rate = RATE * (step / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2)
            for group in rule.param_groups:
                group["lr"] = rate
            rows = order[i * BATCH:(i + 1) * BATCH]
            rule.zero_grad()
            loss = functional.cross_entropy(net(moved(x[rows]).contiguous(memory_format=torch.channels_last)), y[rows])
            loss.backward()
            rule.step()
            loss_sum += loss.item()
        print(json.dumps({"side": "torch", "epoch": epoch + 1, "loss": loss_sum / steps}), flush=True)
    print(json.dumps({"side": "torch", "accuracy_test": right(test_x, test_y)}), flush=True)


# ---- the comparison ----------------------------------------------------------------------------------------------------


def compressed(record, quality):
    import io

    from PIL import Image
    planes, file = [Image.frombytes("L", (32, 32), record[1 + 1024 * i:][:1024]) for i in range(3)], io.BytesIO()
    Image.merge("RGB", planes).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return record[:1] + b"".join(plane.tobytes() for plane in Image.open(file).convert("RGB").split())


def take(data, samples, quality, folder):
    """Files of the first pictures of each of the five, and all of the test pictures."""
    for name in FILES + ["test_batch.bin"]:
        with open(os.path.join(data, name), "rb") as file, open(os.path.join(folder, name), "wb") as out:
            records = file.read(RECORD * (samples // len(FILES)) if name in FILES else -1)
            for at in range(0, len(records), RECORD):
                record = records[at:at + RECORD]
                out.write(compressed(record, quality) if quality else record)


def deft_turn(net, folder, epochs):
    new, trained = os.path.join(folder, "new.onnx"), os.path.join(folder, "trained.onnx")
    subprocess.run([DEFT, "new", net, "-o", new, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    command = [DEFT, "train", new, "--data", f"augment=crop,flip:normalize:cifar10:{folder}", "-o", trained, "--epochs",
               str(epochs), "--batch", str(BATCH), "--optimizer", "nesterov", "--learning-rate", str(RATE), "--schedule",
               "cosine", "--warmup", "0.5", "--weight-decay", str(DECAY), "--clip", "0", "--threads", "1", "--json",
               "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as deft:
        for line in deft.stdout:
            row = json.loads(line)
            if row["kind"] == "epoch":
                print(json.dumps({"side": "deft", "epoch": row["epoch"], "loss": row["loss"]}), flush=True)
            elif row["kind"] == "outcome":
                print(json.dumps({"side": "deft", "accuracy_test": row["accuracy_test"]}), flush=True)
    if deft.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {deft.returncode}")


def main():
    if sys.argv[1:2] == ["--turn"]:
        return torch_turn(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "), description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--net", choices=("resnet-20", "cifarnet"), default="resnet-20")
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--jpeg", type=int, choices=range(1, 101), metavar="Q")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--python", default=os.path.join(ROOT, "build", "torch", "bin", "python"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        take(args.data, args.samples, args.jpeg, folder)
        deft_turn(args.net, folder, args.epochs)
        if args.alone:
            return
        subprocess.run([args.python, os.path.abspath(__file__), "--turn", args.net, folder, str(args.epochs)], check=True)


main()
