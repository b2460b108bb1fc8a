#!/usr/bin/env python3
"""deft prune: zeros where they are asked for, fine-tuning, Ctrl-C, and what is refused. Prints TAP; runs in an empty folder."""
import os
import signal
import subprocess

from command import DEFT, deft, objects, read, refused, run_tests


def layers_of(done):
    *layers, outcome = objects(done)
    assert outcome["kind"] == "outcome" and all(l["kind"] == "layer" for l in layers)
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
    deft("train", "net.onnx", "--data", "digits:1000", "--epochs", 3, "-o", "trained.onnx")
    for how in [], ["--schedule", "cubic", "--every", 5], ["--move", 0.3, "--every", 5]:
        _, outcome = layers_of(deft("prune", "trained.onnx", "--zeros", 0.9, "--data", "digits:1000", "--epochs", 2,
                                    *how, "-o", "p.onnx", "--json"))
        assert outcome["zeros"] == 239580 and outcome["accuracy_test"] > 0.3, outcome
        assert not os.path.exists("p.onnx.checkpoint")


def test_interrupt_keeps_the_epochs_that_are_done():
    args = ["prune", "net.onnx", "--zeros", "0.9", "--schedule", "cubic", "--every", "10", "--data", "digits:4000",
            "--epochs", "6", "-o"]
    deft(*args, "whole.onnx")
    process = subprocess.Popen([DEFT, *args, "stopped.onnx", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not os.path.exists("stopped.onnx.checkpoint") and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b"", (process.returncode, error)
    assert not os.path.exists("stopped.onnx") and os.path.exists("stopped.onnx.checkpoint")
    deft(*args, "stopped.onnx")
    assert read("stopped.onnx") == read("whole.onnx") and not os.path.exists("stopped.onnx.checkpoint")


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
    refused("prune", "net.onnx", "--zeros", "0.5", "--schedule", "cubic", "-o", "x", status=2, names="--data")
    refused("prune", "net.onnx", "--zeros", "0.5", "--data", "nonsense", "-o", "x", status=2, names="nonsense")
    refused("prune", "missing.onnx", "--zeros", "0.5", "-o", "x", status=2, names="missing.onnx")
    refused("prune", "net.onnx", "--zeros", "0.5", "-o", "no/such/folder/x", status=3)


run_tests(globals())
