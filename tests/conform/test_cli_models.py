#!/usr/bin/env python3
"""The command: whether a model runs, at which shapes, what its graph is, how far its outputs are from others. Prints TAP."""
import struct
import zipfile

from command import deft, npy, objects, read, refused, run_tests, write

def test_check():
    row, = objects(deft("check", "net.onnx", "--json"))
    assert row == {"file": "net.onnx", "opset": 17, "nodes": 6, "operators": 3, "not_checked_after": None}, row
    write("odd.onnx", read("net.onnx").replace(b"Gemm", b"Gemx"))
    done = deft("check", "odd.onnx", status=1)
    lines = done.out.splitlines()
    assert len(lines) == 3 and all("does not have the operator Gemx" in line for line in lines), lines
    assert done.error == "deft: odd.onnx: Deft cannot run it: 3 problems\n", done.error
    assert [list(row) for row in objects(deft("check", "odd.onnx", "--json", status=1))] == 3 * [["problem"]]
    done = deft("check", "net.onnx", "--shape", "x=2,1,28,27", status=1)
    assert "28x27" in done.out, done.out
    refused("check", write("none.onnx", b"no model"), status=2, names="none.onnx")


def test_shape():
    for shape in ("x", "x=", "=1", "x=1,", "x=,1", "x=1,a", "x=-1", "x=1,2,3,4,5,6,7,8,9", "x=99999999999999999999"):
        if shape != "x=":
            refused("info", "net.onnx", "--shape", shape, status=2, names="--shape " + shape)
    refused("info", "net.onnx", "--shape", "x=", status=2, names="'x'")
    refused("info", "net.onnx", "--shape", "y=1", status=2, names="'y'")
    refused("info", "net.onnx", "--shape", "x=1,1,28,28", "--shape", "x=1,1,28,28", status=2, names="already")
    small, large = (objects(deft("info", "net.onnx", "--shape", f"x={n},1,28,28", "--json"))[0] for n in (1, 64))
    assert large["activation_bytes"] > 40 * small["activation_bytes"]
    weights = 4 * small["parameters"]
    assert weights < small["peak_bytes"] < large["peak_bytes"], (small, large)
    row = objects(deft("bench", "net.onnx", "--shape", "x=3,1,28,28", "--runs", 1, "--json"))[0]
    assert row["batch"] == 3, row


def test_dump():
    text = deft("info", "net.onnx", "--dump", "load").out
    assert text.startswith("graph ") and text.count("\n") == 8 and "Gemm(" in text, text
    dead = deft("info", "net.onnx", "--dump", "after:dead").out
    assert "Gemm(" in dead and "Flatten" in text
    assert objects(deft("info", "net.onnx", "--dump", "after:dead", "--json")) == [{"graph": dead}]
    refused("info", "net.onnx", "--dump", "after:nothing", status=2, names="fold")
    refused("info", "net.onnx", "--dump", "nothing", status=2, names="after:PASS")


def test_compare():
    write("x.npy", npy("<f4", (1, 1, 28, 28), struct.pack("<784f", *[i % 7 for i in range(784)])))
    name = objects(deft("run", "net.onnx", "--input", "x.npy", "-o", "y.npz", "--json"))[0]["output"]
    row, = objects(deft("run", "net.onnx", "--input", "x.npy", "--compare", "y.npz", "--json"))
    assert row == {"output": name, "max_abs": 0, "max_rel": 0, "mean_abs": 0, "within": True}, row
    with zipfile.ZipFile("y.npz") as archive:
        array = archive.read(name + ".npy")
    values = list(struct.unpack("<10f", array[-40:]))
    largest = max(map(abs, values))
    values[3] += 0.01 * largest
    changed = array[:-40] + struct.pack("<10f", *values)
    with zipfile.ZipFile("changed.npz", "w") as archive:
        archive.writestr(name + ".npy", changed)
    done = deft("run", "net.onnx", "--input", "x.npy", "--compare", "changed.npz", "--json", status=1)
    row, = objects(done)
    assert not row["within"] and 0.009 < row["max_rel"] < 0.011, row
    assert abs(row["mean_abs"] - row["max_abs"] / 10) < 1e-6 * largest, row
    assert "1 of 1 outputs" in done.error
    deft("run", "net.onnx", "--input", "x.npy", "--compare", "changed.npz", "--tolerance", "0.02")
    with zipfile.ZipFile("other.npz", "w") as archive:
        archive.writestr("other.npy", changed)
    refused("run", "net.onnx", "--input", "x.npy", "--compare", "other.npz", status=2, names="'other'")
    with zipfile.ZipFile("shape.npz", "w") as archive:
        archive.writestr(name + ".npy", npy("<f4", (5, 2), array[-40:]))
    refused("run", "net.onnx", "--input", "x.npy", "--compare", "shape.npz", status=2, names="5x2")


run_tests(globals())
