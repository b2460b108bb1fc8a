"""What the tests that run ONNX's own cases share: `deft conform` on a folder, and the list of what does not pass there.

expected-NAME.txt lists every case that does not pass, with why. A case that starts to pass, or stops, fails until the list
says so too; write() writes the list anew, reasons kept."""
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
DEFT = os.path.join(os.environ.get("DEFT_BUILD", "build/release"), "deft")

# The reason of a case that is skipped, by the first of these that its message matches.
REASONS = [
    ("training", r"domain 'ai.onnx.preview.training'|operator (Adagrad|Adam|Momentum|Gradient)"),
    ("sequences", r"not declared to be a tensor|operator (\w*Sequence\w*|Optional\w*)"),
    ("strings", r"data type 8|operator (StringNormalizer|TfIdfVectorizer)|no strings"),
    ("8-bit floats and narrower types", r"data type (1[7-9]|2[0-6])\b"),
    ("random numbers", r"operator (Bernoulli|Random\w+)|training_mode"),
    ("old operator set", r"operator set"),
    ("operator", r"does not have the operator"),
]


def path_of(name):
    return os.path.join(HERE, f"expected-{name}.txt")


def read_expected(name):
    """(verdict, reason) by case."""
    expected = {}
    for line in open(path_of(name)):
        if line.strip() and not line.startswith("#"):
            verdict, case, reason = line.split(maxsplit=2)
            expected[case] = (verdict, reason.strip())
    return expected


def run(folder):
    """{verdict, reason} by case."""
    done = subprocess.run([DEFT, "conform", "--json", "--quiet", folder], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300)
    assert done.returncode in (0, 1), f"exit {done.returncode}: {done.stderr.decode()}"
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    cases = {line["case"]: line for line in lines[:-1]}
    assert sum(lines[-1].values()) == len(cases), f"{lines[-1]} of {len(cases)} cases"
    return cases


def reason_of(case):
    return next((name for name, pattern in REASONS if re.search(pattern, case["reason"])), "not yet")


def write(name, folder):
    try:
        known = read_expected(name)
    except FileNotFoundError:
        known = {}
    with open(path_of(name) + ".new", "w") as file:
        file.write(f"# Cases of ONNX's {name} tests that do not pass: verdict, case, reason. See cases.py.\n")
        for case_name, case in run(folder).items():
            if case["verdict"] == "passed":
                continue
            verdict, reason = known.get(case_name, (None, None))
            if verdict != case["verdict"]:
                verdict, reason = case["verdict"], reason_of(case)
            file.write(f"{verdict} {case_name} {reason}\n")
    os.rename(path_of(name) + ".new", path_of(name))


def check(name, folder, number):
    """Prints TAP; returns the number of the last line, and how many cases were not as expected."""
    expected, wrong = read_expected(name), 0
    cases = run(folder)
    for case_name in sorted(set(cases) | set(expected)):
        verdict, reason = expected.get(case_name, ("passed", ""))
        got = cases.get(case_name, {"verdict": "missing", "reason": ""})
        if got["verdict"] == verdict and verdict != "passed":
            continue
        number += 1
        fits = got["verdict"] == verdict
        wrong += not fits
        print(f"{'ok' if fits else 'not ok'} {number} - {name}/{case_name}")
        if not fits:
            print(f"# {got['verdict']}, expected {verdict} ({reason}): {got['reason']}")
    number += 1
    print(f"ok {number} - {name}: {len(expected)} of {len(cases)} cases are listed as not passing")
    return number, wrong
