#!/usr/bin/env python3
"""Data that is recognised, and data that goes bad while it is used. Prints TAP; runs in an empty folder."""
import os
import random
import struct
import zipfile
import zlib

from command import deft, npy, objects, read, refused, run_tests, write


def png(width, height, grey):
    """A PNG of 8-bit grey pixels."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + bytes(grey[y * width:(y + 1) * width]) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_pictures(folder, count):
    """Dark ones and light ones, which a linear layer tells apart."""
    noise = random.Random(1)
    for name, low in (("dark", 0), ("light", 150)):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        for i in range(count):
            pixels = [low + noise.randrange(100) for _ in range(64)]
            write(os.path.join(folder, name, f"{i}.png"), png(8, 8, pixels))


def write_cifar10(folder, count):
    noise = random.Random(2)
    os.makedirs(folder, exist_ok=True)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        records = [bytes([label]) + bytes(noise.randrange(25 * label, 25 * label + 25) for _ in range(3072))
                   for label in (noise.randrange(10) for _ in range(count))]
        write(os.path.join(folder, name), b"".join(records))


def test_pictures_are_recognised_and_learned():
    write_pictures("pictures", 60)
    deft("new", "mlp:64,2", "-o", "new.onnx")
    for data in ("pictures", "pictures:pictures", "augment=crop=1,flip:normalize:size=8x8:pictures"):
        *_, outcome = objects(deft("train", "new.onnx", "--data", data, "--epochs", "6", "--batch", "16", "-o", "out.onnx",
                                   "--json"))
        assert outcome["accuracy_test"] == 1, f"{data}: {outcome}"


def test_threads_change_nothing():
    """One thread reads when it is asked, three read ahead; each computes the same with one row a batch."""
    write_pictures("pictures", 20)
    deft("new", "mlp:64,2", "-o", "new.onnx")
    losses = []
    for threads in ("1", "3"):
        rows = objects(deft("train", "new.onnx", "--data", "augment=crop,flip:pictures", "--epochs", "2", "--batch", "8",
                            "--threads", threads, "-o", "out.onnx", "--json"))
        losses.append([row["loss"] for row in rows if row["kind"] == "epoch"])
    assert all(abs(a - b) < 1e-5 for a, b in zip(*losses)), losses


def test_a_corrupt_picture_stops_and_is_named():
    write_pictures("damaged", 30)
    deft("new", "mlp:64,2", "-o", "new.onnx")
    args = ["train", "new.onnx", "--data", "damaged", "--epochs", "3", "-o", "damaged.onnx"]
    for name, content in (("cut", read("damaged/dark/7.png")[:60]), ("other", b"no picture"), ("empty", b"")):
        whole = read("damaged/dark/7.png")
        write("damaged/dark/7.png", content)
        message = deft(*args, status=2).error
        assert message.startswith("deft: damaged/dark/7.png: ") and message.count("\n") == 1, f"{name}: {message}"
        assert not os.path.exists("damaged.onnx")
        write("damaged/dark/7.png", whole)
    assert os.path.exists("damaged.onnx.checkpoint")
    deft(*args)


def test_cifar_is_recognised():
    write_cifar10("cifar", 20)
    deft("new", "mlp:3072,10", "-o", "new.onnx")
    first, *_, last, outcome = objects(deft("train", "new.onnx", "--data", "normalize:cifar", "--epochs", "4", "--batch", "10",
                                            "--learning-rate", "0.001", "-o", "out.onnx", "--json"))
    assert last["loss"] < first["loss"] and 0 <= outcome["accuracy_test"] <= 1, (first, last, outcome)


def test_a_truncated_batch_is_named():
    write_cifar10("cut", 5)
    deft("new", "mlp:3072,10", "-o", "new.onnx")
    write("cut/data_batch_3.bin", read("cut/data_batch_3.bin")[:-1])
    refused("train", "new.onnx", "--data", "cut", "-o", "out2.onnx", status=2, names="cut/data_batch_3.bin")
    write("cut/data_batch_3.bin", b"\x0a" + bytes(3072))
    refused("train", "new.onnx", "--data", "cut", "-o", "out2.onnx", status=2, names="cut/data_batch_3.bin")
    assert not os.path.exists("out2.onnx")


def write_regression(path, targets):
    """200 samples of 4 numbers."""
    noise = random.Random(3)
    rows = [[noise.gauss(0, 1) for _ in range(4)] for _ in range(200)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy("<f4", (200, 4), b"".join(struct.pack("<4f", *row) for row in rows)))
        archive.writestr("targets.npy", npy("<f8", (200, 1), b"".join(struct.pack("<d", targets(row)) for row in rows)))


def test_numbers_are_learned():
    write_regression("numbers.npz", lambda row: 3 + row[0] - 0.5 * row[1])
    deft("new", "mlp:4,16,1", "-o", "line.onnx")
    for loss in "auto", "percentage":
        *epochs, outcome = objects(deft("train", "line.onnx", "--data", "npz:numbers.npz", "--epochs", 60, "--batch", 8,
                                        "--optimizer", "adam", "--learning-rate", 0.01, "--weight-decay", 0, "--loss",
                                        loss, "-o", "fit.onnx", "--json"))
        assert outcome["error_test"] < 0.08 and outcome["percentage_test"] < 0.15, outcome
        assert abs(epochs[-1]["accuracy_validation"] - (1 - outcome["error_validation"])) < 1e-6
    assert "validation" in deft("train", "line.onnx", "--data", "numbers.npz", "--epochs", 1, "-o", "fit.onnx").out
    pruned = objects(deft("prune", "fit.onnx", "--zeros", 0.3, "--data", "numbers.npz", "--epochs", 2, "-o", "p.onnx",
                          "--json"))[-1]
    assert pruned["accuracy_validation"] is not None and pruned["dense_validation"] is not None, pruned
    deft("new", "mlp:4,16,2", "-o", "two.onnx")
    refused("train", "two.onnx", "--data", "numbers.npz", "-o", "fit2.onnx", status=2, names="1 targets")


def test_labels_out_of_range_are_named():
    for label, what in (10, "11 classes"), (-1, "y[7] is -1"):
        labels = [3] * 30
        labels[7] = label
        with zipfile.ZipFile("labels.npz", "w") as archive:
            archive.writestr("x.npy", npy("<f4", (30, 4), b"\0" * 480))
            archive.writestr("y.npy", npy("<i8", (30,), struct.pack("<30q", *labels)))
        deft("new", "mlp:4,10", "-o", "ten.onnx")
        message = refused("train", "ten.onnx", "--data", "labels.npz", "-o", "out10.onnx", status=2, names="labels.npz")
        assert what in message, message


run_tests(globals())
