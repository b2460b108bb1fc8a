#!/usr/bin/env python3
"""Deft against onnx.checker and ONNX Runtime: what it writes is valid, and both compute the same. Prints TAP."""
from in_venv import Refused, deft, report, run_deft

import os

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import models

NETS = ["lenet-300-100", "lenet-5", "cifarnet", "resnet-20", "mobilenet-v1", "mlp:12,7,3"]
MAX_ERROR = 1e-4


def run_onnxruntime(path, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))


def relative_error(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype, f"{got.shape} {got.dtype}, {expected.shape}"
    return float(np.max(np.abs(got.astype(np.float64) - expected)) / max(np.max(np.abs(expected)), 1e-30))


def assert_same(got, expected):
    assert sorted(got) == sorted(expected), f"outputs {sorted(got)}, not {sorted(expected)}"
    for name, array in expected.items():
        error = relative_error(got[name], array)
        assert error <= MAX_ERROR, f"output {name}: relative error {error:.2g}"


def pictures(path, batch):
    shape = [d.dim_value or batch for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(batch).standard_normal(shape).astype(np.float32)}


def prune(path, share, to):
    """Zeros in place, as deft optimize leaves them."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.ndim > 1:
            array[np.abs(array) < np.quantile(np.abs(array), share)] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, to)


def test_comparison_sees_a_difference():
    expected = np.ones((2, 3), np.float32)
    assert relative_error(expected, expected) == 0
    assert relative_error(expected + 2e-4, expected) > MAX_ERROR
    for wrong in (expected.T, expected.astype(np.float64)):
        try:
            relative_error(wrong, expected)
        except AssertionError:
            continue
        raise AssertionError("a wrong shape or type was not seen")


def test_written(net):
    deft("new", net, "-o", "net.onnx")
    onnx.checker.check_model("net.onnx", full_check=True)
    model = onnx.load("net.onnx")
    assert model.ir_version == 8 and model.opset_import[0].version == 17 and model.producer_name == "deft"
    for batch in (1, 5):
        inputs = pictures("net.onnx", batch)
        assert_same(run_deft("net.onnx", inputs), run_onnxruntime("net.onnx", inputs))


def test_pruned(net):
    deft("new", net, "-o", "net.onnx")
    prune("net.onnx", 0.9, "sparse.onnx")
    deft("export", "sparse.onnx", "-o", "exported.onnx")
    onnx.checker.check_model("exported.onnx", full_check=True)
    inputs = pictures("sparse.onnx", 5)
    expected = run_onnxruntime("sparse.onnx", inputs)
    assert_same(run_onnxruntime("exported.onnx", inputs), expected)
    for isa in ("c", "best"):
        options = ["--isa", "c"] if isa == "c" else []
        assert_same(run_deft("exported.onnx", inputs, *options), expected)


def test_bit_exact(net):
    deft("new", net, "-o", "net.onnx")
    deft("export", "net.onnx", "-o", "again.onnx")
    first, again = (onnx.load(p).graph for p in ("net.onnx", "again.onnx"))
    assert {t.name: t.raw_data for t in first.initializer} == {t.name: t.raw_data for t in again.initializer}
    assert first.node == again.node and first.input == again.input and first.output == again.output


def test_external_data():
    """Weights in files beside the model, each at an offset; names that lead out of its folder are refused."""
    deft("new", "lenet-5", "-o", "net.onnx")
    inputs = pictures("net.onnx", 2)
    os.makedirs("far/weights", exist_ok=True)
    model = onnx.load("net.onnx")
    onnx.save(model, "far/net.onnx", save_as_external_data=True, location="weights/all.bin", size_threshold=0)
    got = run_deft("far/net.onnx", inputs)
    assert_same(got, run_onnxruntime("net.onnx", inputs))
    os.rename("far/weights/all.bin", "all.bin")
    os.symlink("../../all.bin", "far/weights/all.bin")
    stored = onnx.load("far/net.onnx", load_external_data=False)
    changes = {"weights/all.bin": "symbolic link", "../all.bin": "not within", os.path.abspath("all.bin"): "not within",
               "": "not within", "none.bin": "No such file"}
    for location, message in changes.items():
        for tensor in stored.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = location
        onnx.save(stored, "far/changed.onnx")
        try:
            run_deft("far/changed.onnx", inputs)
        except Refused as refusal:
            assert message in str(refusal), f"{location}: {refusal}"
        else:
            raise AssertionError(f"{location} was read")
    entry = next(entry for entry in stored.graph.initializer[0].external_data if entry.key == "length")
    entry.value = "-4"
    onnx.save(stored, "far/changed.onnx")
    try:
        run_deft("far/changed.onnx", inputs)
    except Refused as refusal:
        assert "not a number" in str(refusal), refusal
    else:
        raise AssertionError("a negative length was read")


def test_read(name, model, inputs):
    onnx.save(model, "model.onnx")
    expected = run_onnxruntime("model.onnx", inputs)
    assert_same(run_deft("model.onnx", inputs), expected)
    deft("export", "model.onnx", "-o", "again.onnx")
    onnx.checker.check_model("again.onnx", full_check=True)
    assert_same(run_onnxruntime("again.onnx", inputs), expected)


def main():
    tests = [("the comparison sees a difference", test_comparison_sees_a_difference)]
    for net in NETS:
        tests += [(f"{net}: written", lambda net=net: test_written(net)),
                  (f"{net}: pruned", lambda net=net: test_pruned(net)),
                  (f"{net}: bit-exact", lambda net=net: test_bit_exact(net))]
    tests.append(("external data", test_external_data))
    for name, model, inputs in models.models():
        tests.append((f"{name}: read", lambda name=name, model=model, inputs=inputs: test_read(name, model, inputs)))
    report(tests)


main()
