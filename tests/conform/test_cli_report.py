#!/usr/bin/env python3
"""deft report: a page of what runs have left behind, with plots and without. Prints TAP; runs in an empty folder."""
import json
import os
import re
import subprocess

from command import DEFT, deft, objects, read, refused, run_tests, write


def epochs(count):
    return "".join(json.dumps({"kind": "epoch", "epoch": i + 1, "epochs": count, "loss": 1 / (i + 1),
                               "accuracy_validation": 0.9 + i / 1000, "learning_rate": 0.05}) + "\n"
                   for i in range(count))


def tickets():
    lines = [{"kind": "lottery", "version": 1}]
    for seed in 0, 1:
        for round_number, left in enumerate([1.0, 0.5, 0.25]):
            for ticket in ["winning"] + ["reinitialized"] * (round_number > 0):
                who = {"seed": seed, "round": round_number, "ticket": ticket}
                lines += [{"kind": "curve", **who, "step": step, "loss": 1 / step, "accuracy_validation": 0.5 + step / 1000}
                          for step in (10, 20, 30)]
                lines.append({"kind": "ticket", **who, "weights_left": left, "accuracy_validation": 0.9,
                              "accuracy_test": 0.91 + seed / 100, "stop_step": 20 + 10 * seed, "stop_loss": 0.1,
                              "stop_accuracy_test": 0.9})
    return "".join(json.dumps(line) + "\n" for line in lines)


def point(zeros, **more):
    numbers = {key: 1.5 for key in ["accuracy_dense", "accuracy_validation", "drop", "dense_us", "fast_us", "speedup",
                                    "dense_us_b1", "fast_us_b1", "speedup_b1"]}
    return {**numbers, "zeros": zeros, "accuracy_test": None, "file_bytes": 7, "within_bound": zeros < 0.9,
            "chosen": False, **more}


def page_of(*args):
    line, = objects(deft("report", *args, "-o", "report.html", "--json"))
    page = read("report.html").decode()
    assert line["plots"] == page.count("<svg") == page.count("</svg>"), line
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n") and "<script" not in page
    return page, line


def test_training():
    write("a.jsonl", epochs(5).encode())
    write("b.jsonl", epochs(3).encode() + b'\n{"kind":"outcome","accuracy_test":0.5}\n')
    page, line = page_of("a.jsonl", "b.jsonl")
    assert line["plots"] == 2 and line["logs"] == 2
    assert "Validation accuracy" in page and "90.40%" in page and page.count("<pre>") == 2


def test_lottery():
    write("log.jsonl", tickets().encode())
    page, line = page_of("log.jsonl")
    assert line["plots"] == 3 and "weights left" in page and "Learning speed" in page
    table = re.search(r"<pre>(.*?)</pre>", page, re.S)[1]
    assert "91.50%" in table and "0.71%" in table and "4.0x" in table, table
    ticks = re.findall(r">\s*([0-9.]+)%\s*<", page)
    assert "100" in ticks and "50" in ticks, "the axis of what is left has its numbers"


def test_frontier():
    write("lines.jsonl", "".join(json.dumps(point(z)) + "\n" for z in (0.5, 0.8, 0.95)).encode())
    page, line = page_of("lines.jsonl")
    assert line["plots"] == 1 and "over it" in page and "95.0%" in page
    write("frontier.json", json.dumps({"version": 1, "points": [point(0.5), point(0.7)]}, indent=2).encode())
    page, line = page_of("frontier.json", "lines.jsonl")
    assert line["plots"] == 2 and page.count("<h2>Frontier") == 2


def test_tables_need_no_gnuplot():
    write("log.jsonl", tickets().encode())
    os.makedirs("nothing", exist_ok=True)
    bare = dict(os.environ, PATH=os.path.abspath("nothing"))
    command = [DEFT, "report", "log.jsonl", "-o", "bare.html"]
    done = subprocess.run(command, env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 3 and done.stderr.count(b"\n") == 1 and b"gnuplot" in done.stderr, done.stderr
    assert not os.path.exists("bare.html")
    assert subprocess.run([*command, "--tables"], env=bare, stdout=subprocess.DEVNULL).returncode == 0
    page = read("bare.html").decode()
    assert "<svg" not in page and "91.50%" in page


def test_names_and_numbers_do_no_harm():
    name = "a<b>&\"'`$(touch owned)\n.jsonl"
    write(name, b'{"kind":"epoch","epoch":1,"loss":null,"accuracy_validation":null}\n{"kind":"epoch","epoch":2,'
                b'"loss":1e308,"accuracy_validation":"x"}\n{"kind":"curve","ticket":"winning","seed":"x"}\n')
    page, _ = page_of(name)
    assert "<b>" not in page and not os.path.exists("owned")
    write("odd.jsonl", tickets().replace('"weights_left": 0.25', '"weights_left": 0').replace("0.91", "null").encode())
    page_of("odd.jsonl")


def test_refusals():
    write("empty", b"")
    write("text", b"hello\n")
    write("half", tickets().encode()[:-20])
    write("number", b"3\n")
    write("other.jsonl", b'{"kind":"other"}\n')
    write("zip", b"PK\x03\x04 and then nothing")
    write("broken.json", json.dumps({"version": 1, "points": [{}]}).encode())
    for path in "empty", "text", "half", "number", "other.jsonl", "zip", "broken.json", "missing", ".":
        refused("report", path, "-o", "out.html", status=2, names=path)
    write("a.jsonl", epochs(2).encode())
    refused("report", "a.jsonl", "-o", "no/such/folder/x.html", status=3, names="no/such/folder")
    refused("report", "a.jsonl", status=2, names="--output")


run_tests(globals())
