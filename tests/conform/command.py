"""What the tests of the command share: running it, reading what it prints, and writing files for it."""
import json
import os
import struct
import subprocess
import sys
import time
import traceback

DEFT = os.path.join(os.environ["DEFT_BUILD"], "deft")
SOURCE = os.environ["DEFT_SOURCE"]


def deft(*args, status=0, stdout=subprocess.PIPE):
    done = subprocess.run([DEFT, *map(str, args)], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                          timeout=200)
    error = done.stderr.decode()
    assert done.returncode == status, f"{args}: exit {done.returncode}, not {status}: {error}"
    done.out, done.error = (done.stdout or b"").decode(), error
    return done


def refused(*args, status, names=None):
    """The command fails with one line that names what is wrong, prints nothing else and leaves no file behind."""
    before = sorted(os.listdir("."))
    done = deft(*args, status=status)
    lines = done.error.splitlines()
    assert len(lines) == 1 and lines[0].startswith("deft: "), f"{args}: {done.error!r}"
    assert names is None or str(names) in lines[0], f"{args}: {lines[0]!r} does not name {names}"
    assert done.out == "", f"{args}: printed {done.out!r}"
    assert sorted(os.listdir(".")) == before, f"{args}: left {set(os.listdir('.')) - set(before)}"
    return lines[0]


def objects(done):
    return [json.loads(line, parse_constant=lambda c: 1 / 0) for line in done.out.splitlines()]


def npy(descr, shape, data):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def run_tests(names):
    """Runs every test_* of a script's names and ends it. There is an untrained net.onnx."""
    tests = [(name, test) for name, test in names.items() if name.startswith("test_")]
    deft("new", "lenet-300-100", "-o", "net.onnx")
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        start = time.monotonic()
        try:
            test()
            print(f"ok {number} - {name}, {time.monotonic() - start:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            print("# " + traceback.format_exc().strip().replace("\n", "\n# "), flush=True)
    print(f"1..{len(tests)}")
    sys.exit(1 if failed else 0)

