#!/usr/bin/env python3
"""The node tests that the onnx package's generators make, which are newer than Debian's files: run by `deft conform`. Prints
TAP, as test_onnx_nodes.py; `--write` writes the list anew (see cases.py)."""
import os
import sys

os.environ.setdefault("DEFT_BUILD", os.path.abspath("build/release"))
import in_venv  # noqa: F401, goes on in the venv
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

import cases

VERSION = "1.23.2"  # the list is of these cases
FOLDER = os.path.join(os.environ["DEFT_BUILD"], "..", "onnx-cases", VERSION)


def message_of(value, info):
    if isinstance(value, TensorProto):
        return value
    kinds = {"sequence_type": numpy_helper.from_list, "optional_type": numpy_helper.from_optional,
             "map_type": numpy_helper.from_dict}
    make = next((make for kind, make in kinds.items() if info.type.HasField(kind)), numpy_helper.from_array)
    return make(value, info.name)


def generate(folder):
    """In ONNX's test layout."""
    for case in collect_testcases(None):
        place = os.path.join(folder, case.name)
        os.makedirs(place, exist_ok=True)
        for i, sets in enumerate(case.data_sets):
            os.makedirs(f"{place}/test_data_set_{i}", exist_ok=True)
            graph = case.model.graph
            for what, values, infos in ("input", sets[0], graph.input), ("output", sets[1], graph.output):
                for j, value in enumerate(values):
                    with open(f"{place}/test_data_set_{i}/{what}_{j}.pb", "wb") as file:
                        file.write(message_of(value, infos[j]).SerializeToString())
        with open(os.path.join(place, "model.onnx"), "wb") as file:
            file.write(case.model.SerializeToString())


def main():
    if onnx.__version__ != VERSION:
        print(f"skip: the list is of onnx {VERSION}; this is {onnx.__version__}")
        sys.exit(77)
    if not os.path.isdir(FOLDER):
        generate(FOLDER + ".new")
        os.rename(FOLDER + ".new", FOLDER)
    if "--write" in sys.argv:
        cases.write("generated", FOLDER)
        return
    number, wrong = cases.check("generated", FOLDER, 0)
    print(f"1..{number}")
    sys.exit(1 if wrong else 0)


main()
