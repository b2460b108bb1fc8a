#!/usr/bin/env python3
"""ONNX's own tests (Debian's libonnx-testdata), run by `deft conform`. Prints TAP: a line for each case that passes or is
not as expected, and one for the list of the others. `--write`, in the repository, writes the lists anew (see cases.py)."""
import os
import sys

import cases

DATA = "/usr/include/onnx/backend/test/data"
FOLDERS = ["node", "simple", "pytorch-operator", "pytorch-converted"]


def main():
    if "--write" in sys.argv:
        for name in FOLDERS:
            cases.write(name, os.path.join(DATA, name))
        return
    if not os.path.isdir(DATA):
        print("skip: no ONNX test data; Debian's libonnx-testdata has it")
        sys.exit(77)
    number = wrong = 0
    for name in FOLDERS:
        number, more = cases.check(name, os.path.join(DATA, name), number)
        wrong += more
    print(f"1..{number}")
    sys.exit(1 if wrong else 0)


main()
