#!/usr/bin/env python3
"""The logs that deft train and prune keep by themselves, and a disk that is full: what was finished stays, and the same
command goes on from there. Prints TAP; runs in an empty folder."""
import json
import os
import resource
import signal
import subprocess

from command import DEFT, deft, objects, read, refused, run_tests, write

TRAIN = ["train", "net.onnx", "--data", "digits:600", "--epochs", 3, "--threads", 1]
PRUNE = ["prune", "net.onnx", "--zeros", 0.8, "--data", "digits:600", "--epochs", 3, "--threads", 1]


def lines_of(path):
    return [json.loads(line) for line in read(path).splitlines()]


def untimed(lines):
    return [{key: value for key, value in line.items() if key not in ("seconds", "images_per_second", "file")}
            for line in lines]


def stop_after_an_epoch(args, output):
    """Interrupted when the log has its first epoch."""
    process = subprocess.Popen([DEFT, *map(str, args), "-o", output], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = output + ".log.jsonl"
    while process.poll() is None and not (os.path.exists(log) and b'"epoch"' in read(log)):
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and os.path.exists(output + ".checkpoint")


def with_files_of(most_bytes, *args, status):
    """The command where no file may become larger, as on a disk that is full."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    done = subprocess.run([DEFT, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)
    error = done.stderr.decode()
    assert done.returncode == status and error.count("\n") == 1 and error.startswith("deft: "), (done.returncode, error)
    return error


def test_train():
    printed = objects(deft(*TRAIN, "-o", "out.onnx", "--json"))
    settings, *lines = lines_of("out.onnx.log.jsonl")
    assert lines == printed and [line["kind"] for line in lines] == ["epoch"] * 3 + ["outcome"]
    assert settings["kind"] == "train" and settings["model"] == "net.onnx" and settings["optimizer"] == "sgd", settings
    assert settings["epochs"] == 3 and settings["data"] == "digits:600" and settings["keep-zeros"] is False
    assert objects(deft("report", "out.onnx.log.jsonl", "-o", "page.html", "--tables", "--json"))[0]["logs"] == 1
    deft(*TRAIN, "-o", "out.onnx", "--json")
    assert untimed(lines_of("out.onnx.log.jsonl")) == untimed([settings, *lines]), "another run, another log"


def test_prune():
    deft(*PRUNE, "-o", "sparse.onnx")
    settings, *lines = lines_of("sparse.onnx.log.jsonl")
    assert settings["kind"] == "prune" and settings["zeros"] == 0.8 and settings["cubic"] is False and settings["batch"] == 64, settings
    assert settings["learning-rate"] is None and settings["clip"] == 1, settings
    assert [line["kind"] for line in lines] == ["epoch"] * 3 + ["outcome"] and lines[-1]["share"] > 0.79
    deft("prune", "net.onnx", "--zeros", 0.8, "-o", "only.onnx")
    assert not os.path.exists("only.onnx.log.jsonl"), "nothing was trained"
    refused("prune", "net.onnx", "--zeros", 0.8, "--log", "x.jsonl", "-o", "x.onnx", status=2, names="--data")


def test_goes_on():
    for args in TRAIN, PRUNE:
        deft(*args, "-o", "whole.onnx")
        stop_after_an_epoch(args, "part.onnx")
        with open("part.onnx.log.jsonl", "ab") as file:
            file.write(b'{"kind":"epoch","epoch":3,"lo')  # as a process leaves it that is killed while it writes
        deft(*args[:-1], 1, "-o", "part.onnx")
        assert read("part.onnx") == read("whole.onnx")
        assert untimed(lines_of("part.onnx.log.jsonl")) == untimed(lines_of("whole.onnx.log.jsonl"))
        os.remove("part.onnx.log.jsonl")


def test_goes_on_where_all_epochs_are_done():
    deft(*TRAIN, "-o", "done.onnx", "--checkpoint", "kept")
    before = lines_of("done.onnx.log.jsonl")
    deft(*TRAIN, "-o", "done.onnx", "--checkpoint", "kept")
    assert lines_of("done.onnx.log.jsonl") == before
    deft(*TRAIN, "-o", "done.onnx", "--checkpoint", "kept.too", "--seed", 7)
    assert [line["epoch"] for line in lines_of("done.onnx.log.jsonl") if line["kind"] == "epoch"] == [1, 2, 3]


def test_another_name():
    deft(*TRAIN, "-o", "named.onnx", "--log", "a log.jsonl")
    assert len(lines_of("a log.jsonl")) == 5 and not os.path.exists("named.onnx.log.jsonl")
    before = sorted(os.listdir("."))
    deft(*TRAIN, "-o", "/dev/null")
    assert sorted(os.listdir(".")) == before, "beside a device is no place"
    done = deft(*TRAIN, "-o", "/dev/null", "--log", "/dev/stdout")
    assert len(objects(done)) == 5 and "validation" in done.error


def test_refusals():
    for content in b"mine, and no log\n", b"mine", b'{"kind": "mine"}\n', b"3\n{}\n":
        write("mine", content)
        refused(*TRAIN, "-o", "x.onnx", "--log", "mine", status=2, names="mine")
        assert read("mine") == content
    refused(*TRAIN, "-o", "x.onnx", "--log", "x.onnx", status=2, names="x.onnx")
    refused(*TRAIN, "-o", "x.onnx", "--log", "no/folder/log", status=3, names="no/folder")
    refused(*TRAIN, "-o", "x.onnx", "--log", ".", status=3, names=".")
    write("x.onnx.log.jsonl", b"mine\n")
    refused(*TRAIN, "-o", "x.onnx", status=2, names="x.onnx.log.jsonl")


def test_a_loss_that_is_not_finite():
    """At a rate that nothing is learned with, nothing but the first checkpoint, of no epoch, is left."""
    command = [*TRAIN, "--learning-rate", 1e6, "--clip", 0, "-o", "wild.onnx"]
    message = deft(*command, status=2).error
    assert message.count("\n") == 1 and "not finite" in message and "after epoch 0" in message, message
    assert os.path.exists("wild.onnx.checkpoint") and not os.path.exists("wild.onnx")
    assert not os.path.exists("wild.onnx.log.jsonl"), "no epoch was finished"


def test_a_full_disk():
    deft(*TRAIN, "-o", "whole.onnx")
    stop_after_an_epoch(TRAIN, "full.onnx")
    files = sorted(os.listdir("."))
    kept = read("full.onnx.checkpoint")
    assert "full.onnx.checkpoint" in with_files_of(5000, *TRAIN, "-o", "full.onnx", "--quiet", status=3)
    assert read("full.onnx.checkpoint") == kept and sorted(os.listdir(".")) == files
    assert "full.onnx.log.jsonl" in with_files_of(100, *TRAIN, "-o", "full.onnx", "--quiet", status=3)
    assert read("full.onnx.checkpoint") == kept and sorted(os.listdir(".")) == files
    deft(*TRAIN, "-o", "full.onnx")
    assert read("full.onnx") == read("whole.onnx")
    assert untimed(lines_of("full.onnx.log.jsonl")) == untimed(lines_of("whole.onnx.log.jsonl"))
    message = deft(*TRAIN, "-o", "x2.onnx", "--log", "/dev/full", status=3).error
    assert message.count("\n") == 1 and "/dev/full" in message, message


def test_a_full_disk_at_the_end():
    """The model is larger than its checkpoint may be: the epochs are kept."""
    deft(*TRAIN, "-o", "late.onnx", "--checkpoint", "late.checkpoint")
    os.remove("late.onnx")
    assert "late.onnx" in with_files_of(100000, *TRAIN, "-o", "late.onnx", "--checkpoint", "late.checkpoint", "--quiet",
                                        status=3)
    assert not os.path.exists("late.onnx")
    deft(*TRAIN, "-o", "late.onnx", "--checkpoint", "late.checkpoint")
    assert read("late.onnx") == read("whole.onnx")


run_tests(globals())
