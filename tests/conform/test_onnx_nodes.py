#!/usr/bin/env python3
"""ONNX's own tests of its operators, for those that Deft has. Prints TAP.

Inputs of integers and booleans (shapes, axes, modes) are made constants first: Deft needs to know them ahead of time."""
from in_venv import Refused, deft, report, run_deft

import os
import re
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

# What Deft refuses, and says so.
REFUSED = {
    r"^test_(add|sub|mul|div)_(u?int8|u?int16|uint32|uint64)$": "are supported",
    r"clip_default_int8_(min|max|inbounds)$|maxpool_2d_uint8": "are supported",
    r"(averagepool|maxpool|conv)_3d": "spatial dimensions",
    r"argmax": "2 outputs",
    r"batchnorm_.*training": "3 outputs",
    r"training_dropout": "training_mode",
    r"identity_(sequence|opt)": "not declared to be a tensor",
}


def operators():
    """Of ops.def, those of ONNX."""
    with open(os.path.join(os.environ["DEFT_SOURCE"], "src/ir/op/ops.def")) as file:
        return set(re.findall(r'DEFT_OP\(\w+,\s*"(\w+)",\s*""', file.read()))


def fix_integers(model, inputs):
    """The inputs that stay inputs."""
    left = {}
    for info in list(model.graph.input):
        array = inputs[info.name]
        if isinstance(array, np.ndarray) and array.dtype.kind in "ib" and len(inputs) > 1 and info.name not in "xyab":
            model.graph.input.remove(info)
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
        else:
            left[info.name] = array
    return left


def check(case, refusal):
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for arrays, outputs in case.data_sets:
        inputs = fix_integers(model, dict(zip([i.name for i in model.graph.input], arrays)))
        onnx.save(model, "node.onnx")
        if refusal:
            try:
                deft("info", "node.onnx")
            except Refused as message:
                assert refusal in str(message), message
                return
            raise AssertionError("should be refused")
        if not inputs: # `deft run` wants one
            deft("info", "node.onnx")
            return
        got = run_deft("node.onnx", {name: np.asarray(array) for name, array in inputs.items()})
        for info, output in zip(model.graph.output, outputs):
            result, output = got[info.name], np.asarray(output)
            assert result.shape == output.shape and result.dtype == output.dtype, f"{info.name}: {result.dtype} {result.shape}"
            np.testing.assert_allclose(result, output, rtol=case.rtol, atol=case.atol)


def main():
    warnings.simplefilter("ignore")
    known = operators()
    tests, seen = [], set()
    for case in collect_testcases(None):
        if not case.model or not all(n.op_type in known and n.domain == "" for n in case.model.graph.node):
            continue
        seen.update(n.op_type for n in case.model.graph.node)
        refusal = next((text for pattern, text in REFUSED.items() if re.search(pattern, case.name)), None)
        tests.append((case.name, lambda case=case, refusal=refusal: check(case, refusal)))

    def test_all_operators():
        assert not known - seen, f"no test of {known - seen}"

    report([*tests, ("every operator has a test", test_all_operators)])


main()
