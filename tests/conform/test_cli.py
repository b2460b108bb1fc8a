#!/usr/bin/env python3
"""The command: help, usage, exit statuses, JSON, bad files, Ctrl-C. Prints TAP; runs in an empty folder."""
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import time
import zipfile

from command import DEFT, SOURCE, deft, npy, objects, read, refused, run_tests, write

COMMANDS = ["new", "train", "prune", "lottery", "optimize", "run", "bench", "info", "check", "report", "export", "conform"]


# ---- help and usage ----


def test_help_fits_a_screen():
    for args in [["--help"], ["help"], ["-h"]] + [[c, "--help"] for c in COMMANDS] + [["help", c] for c in COMMANDS]:
        lines = deft(*args).out.splitlines()
        assert 3 < len(lines) <= 24, f"{args}: {len(lines)} lines"
        assert max(map(len, lines)) <= 80, f"{args}: {max(lines, key=len)!r}"


def test_overview_lists_the_commands():
    text = deft("help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", text, re.M), command


def test_man_page_has_every_option():
    page = read(os.path.join(SOURCE, "docs", "deft.1")).decode().replace("\\-", "-")
    for command in COMMANDS:
        assert f".SS {command}" in page
        section = page.split(f".SS {command}")[1].split(".SS ")[0] + page.split(".SH OPTIONS")[1].split(".SH ")[0]
        for option in re.findall(r"--[a-z-]+", deft("help", command).out.split("\n\n")[1]):
            assert option in section, f"{command} {option}"


def test_version():
    header = read(os.path.join(SOURCE, "include", "deft", "deft.h")).decode()
    assert deft("--version").out == "deft " + re.search(r'DEFT_VERSION "(.*)"', header)[1] + "\n"


def test_slips_get_a_suggestion():
    assert "'optimize'" in refused("optimise", status=2)
    assert "'info'" in refused("inof", status=2)
    assert "'--epochs'" in refused("train", "x", "--epoch5", "3", status=2)
    assert "'--threads'" in refused("info", "x", "--thraeds=3", status=2)
    assert "did you mean" not in refused("xyzzy", status=2)
    assert "did you mean" not in refused("info", "x", "--xyzzy", status=2)
    assert "'new'" in refused("help", "nwe", status=2)


def test_usage_is_checked():
    assert deft(status=2).error.startswith("Deft makes")
    for args in [["train"], ["train", "x"], ["train", "x", "--data", "digits"], ["new", "lenet-5"], ["info"],
                 ["info", "a", "b"], ["info", "x", "--threads"], ["info", "x", "--json=1"], ["info", "x", "-z"],
                 ["run", "x"], ["optimize", "x", "-o", "y"], ["--json"], [""], ["info", ""]]:
        refused(*args, status=2)


def test_numbers_are_strict():
    for option, values in {
            "--threads": ["0", "-1", "", "x", "1x", "1.5", " 1", "99999", "1e3", "99999999999999999999"],
            "--seed": ["-1", "", "x", "1.0", "18446744073709551616", "+1"],
            "--isa": ["sse", "", "AVX2", "avx"],
            "--max-memory": ["0", "-1", "", "x", "1T", "1.5G", "M", "1MB", "99999999999999999999", "17179869184G"]}.items():
        for value in values:
            refused("info", "x", option, value, status=2, names=option)
    for option in "--epochs", "--batch":
        for value in "0", "-1", "nan", "1e1":
            refused("train", "x", "--data", "digits", "-o", "y", option, value, status=2, names=option)
    for option in "--optimizer", "--schedule", "--loss":
        for value in "", "x", "adamw|", "cos", "stepscosine", "|":
            error = refused("train", "x", "--data", "digits", "-o", "y", option, value, status=2, names=option)
            assert "one of" in error, error
    for option in "--learning-rate", "--momentum", "--weight-decay", "--clip", "--average", "--warmup", "--label-smoothing":
        for value in "nan", "inf", "-1", "x", "":
            refused("train", "x", "--data", "digits", "-o", "y", option, value, status=2, names=option)
    for value in "-0.1", "101", "nan", "1%":
        refused("optimize", "x", "--data", "digits", "-o", "y", "--max-drop", value, status=2, names="--max-drop")
    for value in "0", "-1", "inf":
        refused("bench", "x", "--duration", value, status=2, names="--duration")


def test_memory_has_a_limit():
    for command in ["info"], ["bench", "--runs", 1], ["export", "-o", "copy.onnx"]:
        line = refused(*command, "net.onnx", "--max-memory", "1M", status=3)
        assert "memory budget of 1.0 MB" in line and "--max-memory" in line, line
    for limit in "100000000", "100m", "100M", "1G", "100000K":
        assert deft("info", "net.onnx", "--max-memory", limit).error == ""


def test_full_disk_for_stdout():
    for args in [["help"], ["--version"], ["info", "net.onnx"], ["info", "--json", "net.onnx"]]:
        with open("/dev/full", "w") as full:
            assert "standard output" in deft(*args, status=3, stdout=full).error


# ---- models in and out ----


def test_new():
    for network, parameters in [("lenet-300-100", 266610), ("lenet-5", 431080), ("mlp:784,300,100,10", 266610)]:
        line, = objects(deft("new", network, "-o", "made.onnx", "--json"))
        assert line == {"file": "made.onnx", "network": network, "parameters": parameters}
        first = read("made.onnx")
        deft("new", network, "-o", "made.onnx", "--seed", "0")
        assert read("made.onnx") == first, "the seed decides"
        deft("new", network, "-o", "made.onnx", "--seed", "1")
        assert read("made.onnx") != first
        os.unlink("made.onnx")
    for network in "lenet-6", "mlp:", "mlp:3", "mlp:3,x", "mlp:0,3", "mlp:-1,2", "mlp:99999999999,99999999999", "":
        refused("new", network, "-o", "made.onnx", status=2)


def test_outputs_that_cannot_be_written():
    for command in [["new", "lenet-300-100"], ["export", "net.onnx"], ["train", "net.onnx", "--data", "digits:100"],
                    ["optimize", "net.onnx", "--data", "digits:100"]]:
        for path in "/proc/x.onnx", "no/such/folder/x.onnx", "/", ".":
            refused(*command, "-o", path, status=3, names=path)
    refused("new", "lenet-300-100", "-o", "/dev/full", status=3, names="/dev/full")
    refused("export", "net.onnx", "-o", "/dev/full", status=3, names="/dev/full")
    if os.geteuid() != 0:
        os.mkdir("locked", 0o555)
        refused("new", "lenet-300-100", "-o", "locked/x.onnx", status=3, names="locked/x.onnx")


def test_bad_models():
    good = read("net.onnx")
    bad = {"empty": b"", "text": b"hello, world\n", "zip": b"PK\x03\x04 and then nothing",
           "nested": b"\x3a\xff\xff\xff\xff\x0f" * 100, "half": good[:len(good) // 2]}
    generator = random.Random(1)
    for i in range(10):
        bad[f"random{i}"] = generator.randbytes(1000)
        bad[f"cut{i}"] = good[:generator.randrange(1, len(good) - 1)]
    for name, data in bad.items():
        path = write(f"bad-{name}", data)
        for command in [["info", path], ["bench", path], ["export", path, "-o", "out.onnx"]]:
            refused(*command, status=2, names=path)
        os.unlink(path)
    for path in "missing.onnx", ".", "/":
        for command in [["info", path], ["bench", path], ["export", path, "-o", "out.onnx"]]:
            refused(*command, status=2, names=path)


def test_info():
    lines = objects(deft("info", "net.onnx", "--json"))
    model, = [l for l in lines if l["kind"] == "model"]
    assert (model["parameters"], model["prunable"], model["macs"]) == (266610, 266200, 266200)
    tensors = [(l["direction"], l["type"], l["shape"]) for l in lines if l["kind"] == "tensor"]
    assert tensors == [("input", "f32", "Nx1x28x28"), ("output", "f32", "Nx10")], tensors
    layers = [l for l in lines if l["kind"] == "layer"]
    assert sum(l["macs"] for l in layers) == 266200 and sum(l["parameters"] for l in layers) == 266610
    text = deft("info", "net.onnx").out
    assert "266,610" in text and "Nx1x28x28" in text


# ---- running ----


def test_run_and_its_outputs():
    image = [((i * 7919) % 256) / 256 for i in range(3 * 784)]
    write("x.npy", npy("<f4", (3, 1, 28, 28), struct.pack("<2352f", *image)))
    write("x64.npy", npy("<f8", (3, 1, 28, 28), struct.pack("<2352d", *image)))
    line, = objects(deft("run", "net.onnx", "--input", "x.npy", "-o", "y.npy", "--json"))
    assert (line["type"], line["shape"], line["not_finite"]) == ("f32", "3x10", 0)
    y = read("y.npy")
    assert y.startswith(b"\x93NUMPY") and len(y) % 64 == 120 % 64  # a header of whole 64 bytes, then 3x10 f32
    rows = [struct.unpack("<10f", y[-120 + 40 * i:][:40]) for i in range(3)]
    assert line["top"] == " ".join(str(r.index(max(r))) for r in rows)
    name = line["output"]
    inputs = [l["name"] for l in objects(deft("info", "--json", "net.onnx")) if l.get("direction") == "input"]
    deft("run", "net.onnx", "--input", f"{inputs[0]}=x64.npy", "-o", "folder")
    assert read(f"folder/{name}.npy") == y
    deft("run", "net.onnx", "--input", "x.npy", "-o", "y.npz")
    with zipfile.ZipFile("y.npz") as archive:
        assert archive.read(f"{name}.npy")[-120:] == y[-120:]
    refused("run", "net.onnx", "--input", "x.npy", "-o", "/dev/full", status=3, names="/dev/full")


def test_run_holds_each_weight_once():
    deft("new", "mlp:64,1000,1000,1000,1000,10", "-o", "large.onnx")  # 12 MB of weights, which kernels pack
    write("row.npy", npy("<f4", (4, 64), bytes(4 * 256)))
    deft("run", "large.onnx", "--input", "row.npy", "--max-memory", "18M")


def test_run_refuses_inputs():
    write("flat.npy", npy("<f4", (3, 784), bytes(4 * 2352)))
    write("long.npy", npy("<i8", (1, 1, 28, 28), bytes(8 * 784)))
    write("none.npy", npy("<f4", (0, 1, 28, 28), b""))
    write("one.npy", npy("<f4", (1, 1, 28, 28), bytes(4 * 784)))
    write("short.npy", read("one.npy")[:-1])
    assert "Nx1x28x28" in refused("run", "net.onnx", "--input", "flat.npy", status=2, names="flat.npy")
    for path in "long.npy", "none.npy", "short.npy", "net.onnx":
        refused("run", "net.onnx", "--input", path, status=2, names=path)
    refused("run", "net.onnx", "--input", "missing.npy", status=2, names="missing.npy")
    refused("run", "net.onnx", "--input", "one.npy", "--input", "one.npy", status=2)
    refused("run", "net.onnx", "--input", "nobody=one.npy", status=2, names="nobody=one.npy")


def test_run_of_a_model_without_inputs():
    constant = protobuf((1, 2), (2, 1), (8, "c"), (9, struct.pack("2f", -1, 2)))
    declared = protobuf((1, "y"), (2, protobuf((1, protobuf((1, 1), (2, protobuf((1, protobuf((1, 2))))))))))
    graph = protobuf((1, protobuf((1, "c"), (2, "y"), (4, "Relu"))), (2, "g"), (5, constant), (12, declared))
    write("constant.onnx", protobuf((1, 8), (7, graph), (8, protobuf((2, 13)))))
    line, = objects(deft("run", "constant.onnx", "--json"))
    assert (line["shape"], line["min"], line["max"]) == ("2", 0, 2)
    refused("run", "constant.onnx", "--input", "constant.onnx", status=2)
    refused("run", "net.onnx", status=2, names="--input")


def test_bench():
    line, = objects(deft("bench", "net.onnx", "--batch", 8, "--runs", 30, "--json", "--threads", 1))
    assert line["batch"] == 8 and line["runs"] >= 30 and line["threads"] == 1 and line["speedup"] is None
    assert 0 < line["min_us"] <= line["p50_us"] <= line["p90_us"] <= line["p99_us"]
    lines = objects(deft("bench", "net.onnx", "--runs", 10, "--warmup", 0, "--json", "--profile", "--vs-dense", "--pin"))
    assert [l["kernels"] for l in lines if l["kind"] == "latency"] == ["dense", "chosen"]
    layers = [l for l in lines if l["kind"] == "layer"]
    assert abs(sum(l["share"] for l in layers) - 1) < 1e-6
    assert all(l["kernel"] and l["time_us"] >= 0 for l in layers)
    text = deft("bench", "net.onnx", "--runs", 10, "--profile", "--isa", "c").out
    assert "samples/s" in text and "why" in text and " c " in text
    refused("bench", "net.onnx", "--batch", "0", status=2)


def tensor_value(name, element_type, *dims):
    shape = protobuf(*((1, protobuf((1, dim))) for dim in dims))
    return protobuf((1, name), (2, protobuf((1, protobuf((1, element_type), (2, shape))))))


def test_bench_on_inputs_of_ones_own():
    """A model whose shapes depend on a value is measured with the value that it is for."""
    write("x.npy", npy("<f4", (6,), struct.pack("<6f", *range(6))))
    write("shape.npy", npy("<i8", (2,), struct.pack("<2q", 2, 3)))
    inputs = ["--input", "x=x.npy", "--input", "shape=shape.npy"]
    nodes = [protobuf((1, "x"), (1, "shape"), (2, "moved"), (4, "Reshape")), protobuf((1, "moved"), (2, "y"), (4, "Relu"))]
    graph = protobuf(*((1, node) for node in nodes), (2, "g"), (11, tensor_value("x", 1, 6)),
                     (11, tensor_value("shape", 7, 2)), (12, protobuf((1, "y"), (2, protobuf((1, protobuf((1, 1))))))))
    write("staged.onnx", protobuf((1, 8), (7, graph), (8, protobuf((2, 13)))))
    line, = objects(deft("bench", "staged.onnx", *inputs, "--runs", 20, "--json"))
    assert line["runs"] >= 20
    refused("bench", "staged.onnx", status=2, names="--input")
    refused("bench", "staged.onnx", *inputs, "--profile", status=2, names="--profile")
    refused("bench", "staged.onnx", *inputs, "--batch", 2, status=2, names="--batch")
    refused("bench", "staged.onnx", "--input", "x=x.npy", status=2, names="'shape' has no array")
    refused("bench", "peak", "--input", "x=x.npy", status=2, names="--input")


def write_problems(name, text):
    with open(name, "w") as file:
        file.write(text)


def test_bench_of_layers():
    write_problems("p.csv", "# products\nm,network,id,k, n,sparsity\n20,a,1,30,17,0.5\n\n40,b,2,16,49,0.9 # last\n")
    keys = ("id m k n sparsity dense dense_us sparse_us speedup gflops peak_fraction error generate_us code_bytes "
            "schedule").split()
    for layout in "rows", "panels":
        lines = objects(deft("bench", "spmm", "--problems", "p.csv", "--vs", "onednn,naive", "--layout", layout,
                             "--duration", 0.001, "--json", "--threads", 2))
        *rows, summary = lines
        assert [(r["id"], r["m"], r["k"], r["n"]) for r in rows] == [(1, 20, 30, 17), (2, 40, 16, 49)]
        assert all(key in row for row in rows for key in keys)
        assert all(row["error"] < 1e-5 and row["dense_us"] > 0 and row["naive_us"] > 0 for row in rows)
        assert all(row["naive_us"] == min(row[f"{loop}_us"] for loop in ("triple_loop", "interchanged", "tiled", "csr",
                                                                         "coo")) for row in rows)
        assert all(abs(row["gain"] * row["sparse_us"] / row["one_thread_us"] - 1) < 1e-6 for row in rows)
        assert abs(rows[0]["sparsity"] - 0.5) < 0.2 and summary["summary"] is True
        assert summary["min_speedup"] == min(r["speedup"] for r in rows) <= summary["geomean_speedup"]
    lines = objects(deft("bench", "spmm", "--problems", "p.csv", "--sparsity", 1, "--duration", 0.001, "--json"))
    assert [r["sparsity"] for r in lines[:-1]] == [1, 1]
    write_problems("same.csv", "id,m,k,n,sparsity\n1,8,8,8,0.5\n1,8,8,8,0.9\n")
    assert len(objects(deft("bench", "spmm", "--problems", "same.csv", "--duration", 0.001, "--json"))) == 3
    assert len(objects(deft("bench", "spmm", "--problems", "same.csv", "--duration", 0.001, "--json", "--sparsity",
                            0.7))) == 2
    assert "mean speed-up" in deft("bench", "spmm", "--problems", "same.csv", "--duration", 0.001, "--isa", "c").out
    write_problems("v.csv", "id,m,k,n\n1,500,300,1\n")
    row, _ = objects(deft("bench", "spmm", "--problems", "v.csv", "--sparsity", 0.9, "--cold", "--duration", 0.001,
                          "--json", "--threads", 1))
    assert row["gain"] is None
    assert row["n"] == 1 and row["error"] < 1e-5 and row["speedup"] > 0 and 0 < row["weight_bytes"] < 4 * 500 * 300
    write_problems("c.csv", "id,size,channels_in,channels_out,sparsity\n7,9,4,6,0.8\n")
    row, summary = objects(deft("bench", "conv", "--problems", "c.csv", "--duration", 0.001, "--json"))
    assert row["channels_out"] == 6 and row["error"] < 1e-5 and row["dense_us"] > 0
    what = objects(deft("bench", "peak", "--json", "--threads", 1))
    assert {line["what"] for line in what} == {"fma", "read", "write"} and all(line["rate"] > 0 for line in what)


def test_bench_of_layers_refuses():
    good = "id,m,k,n,sparsity\n1,8,8,8,0.5\n"
    write_problems("p.csv", good)
    for text, names in [("id,m,k,sparsity\n1,2,3,0.5\n", "'n'"), (good + "2,x,8,8,0.5\n", "line 3"),
                        (good + "2,8,8,8,1.5\n", "line 3"), (good + "2,0,8,8,0.5\n", "line 3"),
                        (good + "2,8,8\n", "line 3"), ("id,m,k,n\n", "no problem"), ("", "no problem"),
                        ("id,m,k,n\n1,2,3,4\n", "--sparsity")]:
        write_problems("bad.csv", text)
        refused("bench", "spmm", "--problems", "bad.csv", status=2, names=names)
    refused("bench", "spmm", status=2, names="--problems")
    refused("bench", "conv", "--problems", "p.csv", status=2, names="size")
    refused("bench", "spmm", "--problems", "missing.csv", status=2, names="missing.csv")
    refused("bench", "spmm", "--problems", "p.csv", "--layout", "x", status=2, names="--layout")
    refused("bench", "spmm", "--problems", "p.csv", "--vs", "onednn,mkl", status=2, names="mkl")


def test_export_is_the_same_model():
    deft("export", "net.onnx", "-o", "copy.onnx")
    deft("export", "copy.onnx", "-o", "again.onnx")
    assert read("copy.onnx") == read("again.onnx")
    done = subprocess.run([DEFT, "export", "net.onnx", "-o", "/dev/stdout"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True)
    assert done.stdout == read("copy.onnx"), "nothing else is printed where the model goes"
    assert b"266,610" in done.stderr


# ---- training ----


def protobuf(*fields):
    """Fields as (number, value): an int as a varint, bytes or str with their length."""
    def varint(value):
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes(out + bytes([value]))
    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            message += varint(number << 3 | 2) + varint(len(value)) + value
    return message


def write_case(folder, expected, op="Relu"):
    """A test of y = op(x), x = [-1, 2], in ONNX's layout."""
    def tensor(*values):
        return protobuf((1, len(values)), (2, 1), (9, struct.pack(f"{len(values)}f", *values)))
    def declared(name):
        return protobuf((1, name), (2, protobuf((1, protobuf((1, 1), (2, protobuf((1, protobuf((1, 2))))))))))
    node = protobuf((1, "x"), (2, "y"), (4, op))
    graph = protobuf((1, node), (2, "g"), (11, declared("x")), (12, declared("y")))
    os.makedirs(f"{folder}/test_data_set_0")
    with open(f"{folder}/model.onnx", "wb") as file:
        file.write(protobuf((1, 8), (7, graph), (8, protobuf((2, 13)))))
    with open(f"{folder}/test_data_set_0/input_0.pb", "wb") as file:
        file.write(tensor(-1, 2))
    with open(f"{folder}/test_data_set_0/output_0.pb", "wb") as file:
        file.write(tensor(*expected))


def test_conform():
    write_case("cases/good", [0, 2.001])
    write_case("cases/wrong", [0, 2.01])
    write_case("cases/missing", [0, 2], op="Xyzzy")
    write_case("cases/longer", [0, 2, 0])
    os.mkdir("cases/other")
    done = deft("conform", "cases", status=1)
    lines = done.out.splitlines()
    assert lines[-1] == "1 passed, 2 failed, 1 skipped", lines
    assert [line.split(":")[0].split() for line in lines[:-1]] == [["failed", "longer"], ["failed", "wrong"]], lines
    assert "element 1 is 2; expected 2.00999999" in lines[1] and "f32 2; expected f32 3" in lines[0], lines
    assert "2 of 4 cases failed" in done.error
    assert deft("conform", "cases/good/").out == "1 passed, 0 failed, 0 skipped\n"
    assert "Xyzzy" in deft("conform", "--verbose", "cases/missing", "cases/good").out
    rows = [json.loads(line) for line in deft("conform", "--json", "cases", status=1).out.splitlines()]
    assert [row.get("verdict") for row in rows] == ["passed", "failed", "skipped", "failed", None]
    assert rows[-1] == {"passed": 1, "failed": 2, "skipped": 1}


def test_conform_refuses():
    write_case("case", [0, 2])
    os.mkdir("empty")
    refused("conform", "empty", status=2, names="empty")
    refused("conform", "case/model.onnx", status=2, names="case/model.onnx")
    refused("conform", "absent", status=2, names="absent")
    with open("case/test_data_set_0/input_0.pb", "wb") as file:
        file.write(b"\xff" * 100)
    assert "input_0.pb" in deft("conform", "case", status=1).out
    os.remove("case/test_data_set_0/input_0.pb")
    assert "'x' is not given" in deft("conform", "case", status=1).out
    os.rename("case/test_data_set_0", "case/data")
    assert "test_data_set_0" in deft("conform", "case", status=1).out


def test_data_that_is_refused():
    write("labels.npz", b"not a zip")
    for data, status in [("digits:0", 2), ("digits:x", 2), ("nonsense", 2), ("", 2), ("npz:labels.npz", 2),
                         ("npz:missing.npz", 2), ("mnist:missing", 2), ("npz:.", 2)]:
        refused("train", "net.onnx", "--data", data, "-o", "out.onnx", status=status)
        refused("optimize", "net.onnx", "--data", data, "-o", "out.onnx", status=status)


def test_train_reports_epochs():
    done = deft("train", "net.onnx", "--data", "digits:1000", "--epochs", 3, "-o", "trained.onnx", "--json")
    lines = objects(done)
    assert [l["epoch"] for l in lines[:-1]] == [1, 2, 3] and lines[0]["loss"] > lines[2]["loss"]
    assert lines[-1]["kind"] == "outcome" and lines[-1]["accuracy_test"] > 0.3
    assert not os.path.exists("trained.onnx.checkpoint")
    deft("train", "net.onnx", "--data", "digits:1000", "--epochs", 3, "-o", "again.onnx", "--quiet")
    assert read("again.onnx") == read("trained.onnx"), "the same seed, the same weights"


def test_interrupt_keeps_the_epochs_that_are_done():
    command = [DEFT, "train", "net.onnx", "--data", "digits:2000", "--epochs", "4", "-o", "stopped.onnx", "--json"]
    whole = subprocess.run([*command[:-2], "whole.onnx", "--json"], stdout=subprocess.DEVNULL, check=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["epoch"] == 1
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, error)
    assert error.startswith(b"deft: "), error
    assert not os.path.exists("stopped.onnx") and os.path.exists("stopped.onnx.checkpoint")
    seen = len(out.splitlines()) + 1
    rest = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    assert len(rest) == 4 - seen + 1, (seen, rest)  # the epochs that were left, and the outcome
    assert not os.path.exists("stopped.onnx.checkpoint")
    assert read("stopped.onnx") == read("whole.onnx"), "stopped and resumed is as good as not stopped"


def test_a_request_that_comes_twice_is_one():
    """As timeout(1) sends it: to the process, then to its group."""
    process = subprocess.Popen([DEFT, "bench", "net.onnx", "--duration", "100"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b""), (process.returncode, error)
    assert len(error.splitlines()) == 1 and error.startswith(b"deft: "), error


# ---- the main job ----


def test_optimize():
    done = deft("optimize", "trained.onnx", "--data", "digits:1000", "--max-drop", 100, "--epochs", 1, "-o",
                "fast.deft", "--json")
    points = objects(done)
    keys = {"accuracy_dense", "accuracy_fast", "zeros", "drop", "dense_us", "fast_us", "speedup", "dense_us_b1",
            "fast_us_b1", "speedup_b1", "file_bytes", "within_bound", "chosen"}
    assert len(points) >= 2 and all(keys <= p.keys() for p in points)
    assert [p["chosen"] for p in points] == [False] * (len(points) - 1) + [True]
    chosen = points[-1]
    assert chosen["zeros"] >= 0.9
    assert abs(chosen["drop"] - 100 * (chosen["accuracy_dense"] - chosen["accuracy_fast"])) < 1e-6
    assert abs(chosen["speedup"] - chosen["dense_us"] / chosen["fast_us"]) < 1e-3 * chosen["speedup"]
    kept = [l for l in objects(deft("info", "--json", "fast.deft")) if l.get("chosen")]
    assert kept == [chosen]
    with zipfile.ZipFile("fast.deft") as archive:
        assert sorted(archive.namelist()) == ["frontier.json", "model.onnx"]
        onnx = archive.read("model.onnx")
    deft("export", "fast.deft", "-o", "fast.onnx")
    assert read("fast.onnx") == onnx
    for model in "fast.deft", "fast.onnx":
        deft("bench", model, "--runs", 5)
        model_line = objects(deft("info", model, "--json"))[0]
        assert abs(model_line["zeros"] - chosen["zeros"]) < 1e-6
        assert "prune" in model_line["recipe"]


def test_a_model_that_arrives_sparse_is_only_measured():
    lines = objects(deft("optimize", "fast.deft", "--data", "digits:1000", "--max-drop", 100, "-o", "again.deft",
                         "--json"))
    assert len({l["zeros"] for l in lines}) == 1 and lines[-1]["chosen"]


def test_no_point_within_the_bound():
    generator = random.Random(2)
    noise = b"".join(struct.pack("<f", generator.gauss(0, 1)) for _ in range(400 * 784))
    with zipfile.ZipFile("noise.npz", "w") as archive:
        archive.writestr("x.npy", npy("<f4", (400, 1, 28, 28), noise))
    deft("new", "lenet-300-100", "-o", "untrained.onnx")
    before = sorted(os.listdir("."))
    done = deft("optimize", "untrained.onnx", "--data", "npz:noise.npz", "--max-drop", 0, "--epochs", 1, "-o",
                "none.deft", "--json", status=1)
    assert done.error.startswith("deft: ") and len(done.error.splitlines()) == 1, done.error
    assert not any(p["within_bound"] or p["chosen"] for p in objects(done))
    assert sorted(os.listdir(".")) == before


def test_the_bar_is_for_terminals():
    """On a terminal there is a bar, which is gone at the end; quiet means none."""
    for quiet in [], ["--quiet"]:
        main, side = pty.openpty()
        process = subprocess.Popen([DEFT, "train", "net.onnx", "--data", "digits:2000", "--epochs", "2", "-o",
                                    "bar.onnx", *quiet], stdout=subprocess.DEVNULL, stderr=side)
        os.close(side)
        seen = b""
        while True:
            try:
                part = os.read(main, 4096)
            except OSError:
                break
            if not part:
                break
            seen += part
        os.close(main)
        assert process.wait(timeout=60) == 0
        assert (b"[####" in seen) == (not quiet), seen[:200]
        assert quiet or seen.endswith(b"\r\x1b[K"), seen[-80:]


run_tests(globals())
