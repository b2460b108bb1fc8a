#!/usr/bin/env python3
"""deft prune and deft lottery: zeros where they are asked for, training under masks, Ctrl-C and kill, and what is refused.
Prints TAP; runs in an empty folder."""
import json
import os
import signal
import struct
import subprocess
import zipfile

from command import DEFT, deft, npy, objects, read, refused, run_tests


def layers_of(done):
    *rows, outcome = objects(done)
    epochs, layers = ([l for l in rows if l["kind"] == kind] for kind in ("epoch", "layer"))
    assert outcome["kind"] == "outcome" and rows == epochs + layers
    assert [l["epoch"] for l in epochs] == list(range(1, len(epochs) + 1))
    assert outcome["zeros"] == sum(l["zeros"] for l in layers)
    return {l["layer"]: l for l in layers}, outcome


def test_without_data():
    layers, outcome = layers_of(deft("prune", "net.onnx", "--zeros", 0.9, "-o", "p.onnx", "--json"))
    assert outcome["zeros"] == 239580 and outcome["accuracy_test"] is None
    assert layers["fc1"]["share"] > 0.9 > layers["fc3"]["share"]
    seen = {l["layer"]: l["zeros"] for l in objects(deft("info", "p.onnx", "--json")) if l["kind"] == "layer"}
    assert abs(seen["fc1"] - layers["fc1"]["share"]) < 1e-6
    layers, _ = layers_of(deft("prune", "net.onnx", "--zeros", 0.9, "--scope", "layer", "-o", "p.onnx", "--json"))
    assert [l["zeros"] for l in layers.values()] == [211680, 27000, 900]
    layers, _ = layers_of(deft("prune", "net.onnx", "--pattern", "2:4", "-o", "p.onnx", "--json"))
    assert [l["zeros"] for l in layers.values()] == [117600, 15000, 500]
    _, outcome = layers_of(deft("prune", "net.onnx", "--pattern", "4x1", "--zeros", 0.5, "-o", "p.onnx", "--json"))
    assert abs(outcome["share"] - 0.5) < 1e-3
    deft("prune", "net.onnx", "--zeros", 0, "-o", "same.onnx")
    deft("export", "net.onnx", "-o", "copy.onnx")
    assert read("same.onnx") == read("copy.onnx"), "no zeros asked for, nothing changed"
    assert "share" in deft("prune", "net.onnx", "--zeros", 0.5, "-o", "p.onnx").out


def test_fine_tuning():
    deft("train", "net.onnx", "--data", "digits:1000", "--epochs", 3, "-o", "trained.onnx", "--threads", 1)
    for how in [], ["--cubic", "--every", 5], ["--move", 0.3, "--every", 5]:
        _, outcome = layers_of(deft("prune", "trained.onnx", "--zeros", 0.9, "--data", "digits:1000", "--epochs", 2,
                                    *how, "-o", "p.onnx", "--json", "--threads", 1))
        assert outcome["zeros"] == 239580 and outcome["accuracy_test"] > 0.3, outcome
        assert not os.path.exists("p.onnx.checkpoint")


def test_fine_tuning_is_training():
    """Pruned and trained under the mask in two commands or in one, with the same options, it is the same network."""
    how = ["--data", "digits:1000", "--epochs", 2, "--batch", 32, "--optimizer", "nesterov", "--learning-rate", 0.02,
           "--schedule", "cosine", "--warmup", 0.5, "--momentum", 0.8, "--weight-decay", 0.001, "--clip", 0, "--average",
           0.9, "--label-smoothing", 0.1, "--loss", "cross-entropy", "--teacher", "net.onnx", "--teacher-share", 0.8,
           "--temperature", 3, "--threads", 1]
    deft("prune", "net.onnx", "--zeros", 0.9, "-o", "p.onnx")
    deft("train", "p.onnx", "--keep-zeros", *how, "-o", "two.onnx")
    deft("prune", "net.onnx", "--zeros", 0.9, *how, "-o", "one.onnx")
    assert read("one.onnx") == read("two.onnx")


def test_a_teacher():
    """What was pruned learns from what it was, with labels and without; its zeros stay."""
    deft("train", "net.onnx", "--data", "digits:1000", "--epochs", 4, "-o", "dense.onnx", "--threads", 1)
    _, pruned = layers_of(deft("prune", "dense.onnx", "--zeros", 0.9, "--data", "digits:1000", "--epochs", 1, "-o", "p.onnx",
                               "--json", "--threads", 1))
    *_, taught = objects(deft("train", "p.onnx", "--data", "digits:1000", "--epochs", 4, "--keep-zeros", "--teacher",
                              "dense.onnx", "-o", "t.onnx", "--json", "--threads", 1))
    assert taught["accuracy_validation"] > pruned["accuracy_validation"], (taught, pruned)
    zeros = [l["zeros"] for l in objects(deft("info", "t.onnx", "--json")) if l["kind"] == "layer" and l["zeros"]]
    assert zeros == [l["zeros"] for l in objects(deft("info", "p.onnx", "--json")) if l["kind"] == "layer" and l["zeros"]]
    with open("unlabelled.npz", "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            samples = [(i * 37 % 101) / 101 for i in range(60 * 784)]
            archive.writestr("x.npy", npy("<f4", (60, 1, 28, 28), struct.pack(f"<{len(samples)}f", *samples)))
    *_, taught = objects(deft("train", "p.onnx", "--data", "unlabelled.npz", "--epochs", 2, "--teacher", "dense.onnx", "-o",
                              "t.onnx", "--json", "--threads", 1))
    assert 0 <= taught["accuracy_test"] <= 1
    refused("train", "p.onnx", "--data", "unlabelled.npz", "-o", "t.onnx", status=2, names="teacher")
    deft("new", "cifarnet", "-o", "other.onnx")
    refused("train", "p.onnx", "--data", "digits:100", "--teacher", "other.onnx", "-o", "t.onnx", status=2,
            names="the teacher: input 'x'")
    refused("train", "p.onnx", "--data", "digits:100", "--teacher", "missing.onnx", "-o", "t.onnx", status=2,
            names="missing.onnx")
    refused("train", "p.onnx", "--data", "digits:100", "--teacher", "dense.onnx", "--temperature", 4, "--loss",
            "squared-error", "-o", "t.onnx", status=2, names="a temperature of 4 is of classes")
    for option in "--teacher-share", "--temperature":
        refused("train", "p.onnx", "--data", "digits:100", option, 0.9, "-o", "t.onnx", status=2, names="add --teacher")


def test_interrupt_keeps_the_epochs_that_are_done():
    args = ["prune", "net.onnx", "--zeros", "0.9", "--cubic", "--every", "10", "--data", "digits:2000",
            "--epochs", "4", "--threads", "1", "-o"]
    deft(*args, "whole.onnx")
    process = subprocess.Popen([DEFT, *args, "stopped.onnx", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not os.path.exists("stopped.onnx.checkpoint") and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and all(json.loads(l)["kind"] == "epoch" for l in out.splitlines()), (out, error)
    assert b"stopped.onnx.checkpoint keeps the finished epochs" in error, error
    assert not os.path.exists("stopped.onnx") and os.path.exists("stopped.onnx.checkpoint")
    deft(*args, "stopped.onnx")
    assert read("stopped.onnx") == read("whole.onnx") and not os.path.exists("stopped.onnx.checkpoint")


def test_calibration():
    for how in ["--zeros", 0.5], ["--zeros", 0.5, "--scope", "layer"], ["--pattern", "2:4"]:
        _, outcome = layers_of(deft("prune", "net.onnx", *how, "--calibrate", "digits:1000", "--samples", 64, "-o",
                                    "p.onnx", "--json", "--threads", 1))
        assert outcome["zeros"] == 133100 and 0 < outcome["relative_error"] < 0.5, outcome
    refused("prune", "net.onnx", "--zeros", "0.5", "--calibrate", "digits:100", "--data", "digits:100", "-o", "x", status=2,
            names="--calibrate")
    refused("prune", "net.onnx", "--zeros", "0.5", "--pattern", "4x1", "--calibrate", "digits:100", "-o", "x", status=2,
            names="blocks")
    refused("prune", "net.onnx", "--zeros", "0.5", "--calibrate", "npz:missing.npz", "-o", "x", status=2,
            names="missing.npz")


def test_refusals():
    refused("prune", "net.onnx", "-o", "x", status=2, names="--zeros")
    for option, values in {"--zeros": ["-0.1", "1.1", "nan", "90%"], "--move": ["-1", "1", "x"], "--every": ["0", "x"],
                           "--epochs": ["0"], "--scope": ["", "all"], "--schedule": ["linear"],
                           "--pattern": ["2", "2:", "2:4:8", "2-4", "x", "99999:4"]}.items():
        for value in values:
            refused("prune", "net.onnx", "--zeros", "0.5", option, value, "-o", "x", status=2, names=option)
    for pattern in "4:4", "0:4", "-1:4", "2:100", "0x3":
        refused("prune", "net.onnx", "--pattern", pattern, *(["--zeros", "0.5"] if "x" in pattern else []), "-o", "x",
                status=2)
    refused("prune", "net.onnx", "--pattern", "2:4", "--zeros", "0.5", "-o", "x", status=2)
    for option in ["--epochs", "3"], ["--learning-rate", "0.01"], ["--cubic"], ["--move", "0.1"], ["--teacher", "net.onnx"], ["--log", "x.jsonl"]:
        refused("prune", "net.onnx", "--zeros", "0.5", *option, "-o", "x", status=2, names="--data")
    refused("prune", "net.onnx", "--zeros", "0.5", "--data", "nonsense", "-o", "x", status=2, names="nonsense")
    refused("prune", "missing.onnx", "--zeros", "0.5", "-o", "x", status=2, names="missing.onnx")
    refused("prune", "net.onnx", "--zeros", "0.5", "-o", "no/such/folder/x", status=3)


# with one thread, so that a busy machine does not make the small steps wait for each other
LOTTERY = ["lottery", "net.onnx", "--data", "digits:500", "--rounds", 3, "--epochs", 2, "--controls", "both",
           "--control-every", 3, "--seeds", 2, "--threads", 1]


def test_lottery():
    lines = objects(deft(*LOTTERY, "-o", "tickets", "--json"))
    tickets, rounds = ([l for l in lines if l["kind"] == kind] for kind in ("ticket", "round"))
    assert len(tickets) == 2 * (4 + 2) and len(lines) == len(tickets) + 4
    assert [r["round"] for r in rounds] == [0, 1, 2, 3] and all(r["seeds"] == 2 for r in rounds)
    assert abs(rounds[3]["weights_left"] - 0.8**3) < 1e-3
    for r in rounds:
        mine = [t["accuracy_test"] for t in tickets if t["round"] == r["round"] and t["ticket"] == "winning"]
        assert abs(r["winning"] - sum(mine) / 2) < 1e-6
        assert abs(r["winning_spread"] - abs(mine[0] - mine[1]) / 2**0.5) < 1e-6
        assert (r["random"] is None) == (r["round"] != 3)
    log = [json.loads(line) for line in read("tickets/log.jsonl").decode().splitlines()]
    assert log[0]["kind"] == "lottery" and sum(l["kind"] == "ticket" for l in log) == 12
    assert sum(l["kind"] == "curve" for l in log) > 100
    again = objects(deft(*LOTTERY, "-o", "tickets", "--json"))
    assert again == lines, "nothing is left to do, and the table is the same"
    text = deft(*LOTTERY, "-o", "tickets").out
    assert "reinitialized" in text and "51.2" in text


def test_lottery_that_is_killed_goes_on():
    deft(*LOTTERY, "-o", "whole")
    for signal_number in signal.SIGINT, signal.SIGKILL, signal.SIGKILL:
        process = subprocess.Popen([DEFT, *map(str, LOTTERY), "-o", "killed", "--json"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        before = len(os.listdir("killed")) if os.path.exists("killed") else 0
        while process.poll() is None and (not os.path.exists("killed") or len(os.listdir("killed")) < before + 2):
            pass
        process.send_signal(signal_number)
        process.communicate(timeout=60)
    deft(*LOTTERY, "-o", "killed")
    for name in os.listdir("whole"):
        assert read(f"whole/{name}") == read(f"killed/{name}"), name
    left = set(os.listdir("killed")) - set(os.listdir("whole"))
    assert all(not name.endswith((".onnx", ".jsonl", ".checkpoint")) for name in left), left


def test_lottery_refusals():
    refused("lottery", "net.onnx", "-o", "x", status=2, names="--data")
    for option, values in {"--rounds": ["0", "x"], "--rate": ["0", "1"], "--scope": ["x"], "--reset": ["x"],
                           "--rewind": ["-1"], "--controls": ["all"], "--seeds": ["0"], "--control-every": ["0"]}.items():
        for value in values:
            refused("lottery", "net.onnx", "--data", "digits:100", "-o", "x", option, value, status=2, names=option)
    refused("lottery", "net.onnx", "--data", "digits:100", "-o", "no/such/folder", status=3, names="no/such/folder")
    refused("lottery", "net.onnx", "--data", "digits:100", "-o", "net.onnx", status=3, names="net.onnx")
    deft("lottery", "net.onnx", "--data", "digits:100", "--epochs", 1, "--rounds", 1, "-o", "small",
         "--threads", 1)
    refused("lottery", "net.onnx", "--data", "digits:100", "--epochs", 2, "--rounds", 1, "-o", "small", status=2,
            names="another lottery")


run_tests(globals())
