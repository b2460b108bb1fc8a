#!/usr/bin/env python3
"""ONNX's own tests (Debian's libonnx-testdata), run by `deft conform`. Prints TAP: a line for each case that passes or is
not as expected, and one for the list of the others.

expected-FOLDER.txt lists every case that does not pass, with why. A case that starts to pass, or stops, fails here until
the list says so too: `tests/conform/test_onnx_nodes.py --write` in the repository writes the lists anew, reasons kept."""
import json
import os
import re
import subprocess
import sys

DATA = "/usr/include/onnx/backend/test/data"
FOLDERS = ["node", "simple", "pytorch-operator", "pytorch-converted"]
HERE = os.path.dirname(os.path.abspath(__file__))
DEFT = os.path.join(os.environ.get("DEFT_BUILD", "build/release"), "deft")

# The reason of a case that is skipped, by the first of these that its message matches.
REASONS = [
    ("training", r"domain 'ai.onnx.preview.training'|operator (Adagrad|Adam|Momentum|Gradient)"),
    ("sequences", r"not declared to be a tensor|operator (\w*Sequence\w*|Optional\w*)"),
    ("strings", r"data type 8|operator (StringNormalizer|TfIdfVectorizer)|no strings"),
    ("control flow", r"is a graph"),
    ("random numbers", r"operator (Bernoulli|Random\w+)|training_mode"),
    ("old operator set", r"operator set"),
    ("operator", r"does not have the operator"),
]


def path_of(folder):
    return os.path.join(HERE, f"expected-{folder}.txt")


def read_expected(folder):
    """(verdict, reason) by case."""
    expected = {}
    for line in open(path_of(folder)):
        if line.strip() and not line.startswith("#"):
            verdict, case, reason = line.split(maxsplit=2)
            expected[case] = (verdict, reason.strip())
    return expected


def run(folder):
    """{verdict, reason} by case."""
    done = subprocess.run([DEFT, "conform", "--json", "--quiet", os.path.join(DATA, folder)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300)
    assert done.returncode in (0, 1), f"exit {done.returncode}: {done.stderr.decode()}"
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    cases = {line["case"]: line for line in lines[:-1]}
    assert sum(lines[-1].values()) == len(cases), f"{lines[-1]} of {len(cases)} cases"
    return cases


def reason_of(case):
    return next((name for name, pattern in REASONS if re.search(pattern, case["reason"])), "not yet")


def write():
    for folder in FOLDERS:
        try:
            known = read_expected(folder)
        except FileNotFoundError:
            known = {}
        with open(path_of(folder) + ".new", "w") as file:
            file.write(f"# Cases of ONNX's {folder} tests that do not pass: verdict, case, reason. See test_onnx_nodes.py.\n")
            for name, case in run(folder).items():
                if case["verdict"] == "passed":
                    continue
                verdict, reason = known.get(name, (None, None))
                if verdict != case["verdict"]:
                    verdict, reason = case["verdict"], reason_of(case)
                file.write(f"{verdict} {name} {reason}\n")
        os.rename(path_of(folder) + ".new", path_of(folder))


def check(folder, number):
    """Prints TAP; returns the number of the last line, and how many cases were not as expected."""
    expected, wrong = read_expected(folder), 0
    cases = run(folder)
    for name in sorted(set(cases) | set(expected)):
        verdict, reason = expected.get(name, ("passed", ""))
        got = cases.get(name, {"verdict": "missing", "reason": ""})
        if got["verdict"] == verdict and verdict != "passed":
            continue
        number += 1
        fits = got["verdict"] == verdict
        wrong += not fits
        print(f"{'ok' if fits else 'not ok'} {number} - {folder}/{name}")
        if not fits:
            print(f"# {got['verdict']}, expected {verdict} ({reason}): {got['reason']}")
    number += 1
    print(f"ok {number} - {folder}: {len(expected)} of {len(cases)} cases are listed as not passing")
    return number, wrong


def main():
    if "--write" in sys.argv:
        write()
        return
    if not os.path.isdir(DATA):
        print("skip: no ONNX test data; Debian's libonnx-testdata has it")
        sys.exit(77)
    number = wrong = 0
    for folder in FOLDERS:
        number, more = check(folder, number)
        wrong += more
    print(f"1..{number}")
    sys.exit(1 if wrong else 0)


main()
