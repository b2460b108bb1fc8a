"""Imported first, goes on in the venv that tools/venv makes; where there is none, skips. Then: deft(), run_deft(), report()."""
import os
import subprocess
import sys
import traceback

VENV = os.path.join(os.environ["DEFT_BUILD"], "..", "venv", "bin", "python")
if not os.path.exists(VENV):
    print("skip: no venv with numpy, onnx and onnxruntime; tools/venv makes it")
    sys.exit(77)
if os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(VENV))):
    os.execv(VENV, [VENV, "-B", *sys.argv])

import numpy as np

DEFT = os.path.join(os.environ["DEFT_BUILD"], "deft")


class Refused(Exception):
    pass


def deft(*args):
    """Raises Refused with the message where the input is refused, and fails where it is anything worse."""
    done = subprocess.run([DEFT, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=100)
    if done.returncode == 2:
        raise Refused(done.stderr.decode().strip())
    assert done.returncode == 0, f"{args}: exit {done.returncode}: {done.stderr.decode()}"


def run_deft(path, inputs, *options):
    """The outputs by name."""
    args = []
    for number, (name, array) in enumerate(inputs.items()):
        np.save(f"input_{number}.npy", array)
        args += ["--input", f"{name}=input_{number}.npy"]
    deft("run", path, *args, "-o", "outputs.npz", *options)
    return dict(np.load("outputs.npz"))


def report(tests):
    """Runs (name, function) pairs, prints TAP, exits."""
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}")
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            print("# " + traceback.format_exc().replace("\n", "\n# "))
    print(f"1..{len(tests)}")
    sys.exit(1 if failed else 0)
