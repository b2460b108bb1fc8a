"""Tables of single sparse layers against dense libraries, for tools/bench: `deft bench spmm` and `deft bench conv`."""
import math
import os
import sys
import time

PROBLEMS = "bench/problems"
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SEEDS = (1, 2, 3)


class Bench:
    """Runs the command until the time that there is is over; what then is left out says so in the tables."""

    def __init__(self, deft, seconds, minutes):
        self.deft, self.seconds, self.start = deft, seconds, time.monotonic()
        self.deadline, self.left_out = self.start + 60 * minutes, 0
        self.known = {}

    def run(self, kind, problems, threads=1, sparsity=None, seed=1, layout="rows", isa=None, vs="onednn,openblas",
            weights=None, cold=False):
        """The rows and the summary; ([], None) where there was no time for it."""
        key = (kind, problems, threads, sparsity, seed, layout, isa, vs, weights, cold)
        if key not in self.known:
            self.known[key] = self.run_now(*key)
        return self.known[key]

    def run_now(self, kind, problems, threads, sparsity, seed, layout, isa, vs, weights, cold):
        what = " ".join(str(word) for word in (
            kind, problems, layout, f"{100 * sparsity:.0f}%" if sparsity is not None else "", f"seed {seed}",
            f"{threads} threads", isa or "", "cold" if cold else "") if word)
        if time.monotonic() > self.deadline:
            self.left_out += 1
            self.tell(what, "left out: no time")
            return [], None
        options = ["--threads", threads, "--seed", seed, "--duration", self.seconds]
        options += ["--sparsity", sparsity] if sparsity is not None else []
        options += ["--layout", layout, "--vs", vs] if kind == "spmm" else []
        options += ["--isa", isa] if isa else []
        options += ["--weights", weights] if weights else []
        options += ["--cold"] if cold else []
        # Spinning threads are what suits small layers best on a quiet machine.
        environment = {"OMP_WAIT_POLICY": "active"} if threads > 1 else {}
        *rows, summary = self.deft("bench", kind, "--problems", f"{PROBLEMS}/{problems}.csv", *options, **environment)
        self.tell(what, f"{summary['geomean_speedup']:.2f}x")
        return rows, summary

    def tell(self, what, result):
        seconds = int(time.monotonic() - self.start)
        print(f"[{seconds // 60:2}:{seconds % 60:02}] {what}: {result}", file=sys.stderr, flush=True)


def table(head, rows):
    return ["| " + " | ".join(map(str, head)) + " |", "| " + " | ".join("---" for _ in head) + " |",
            *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def times(value):
    return "-" if value is None else f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def share(value):
    return "-" if value is None else f"{100 * value:.0f}%"


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def spread(summaries, key, say):
    """Of the first seed, and between all seeds where there are more."""
    values = [s[key] for s in summaries if s]
    if not values:
        return "-"
    return say(values[0]) + (f" ({say(min(values))} to {say(max(values))})" if len(values) > 1 else "")


def shape_of(row):
    return "x".join(str(row[key]) for key in ("m", "k", "n", "size", "channels_in", "channels_out") if key in row)


def details(rows):
    """Every row, with what was chosen."""
    return table(["id", "shape", "zeros", "dense", "us", "deft us", "speed-up", "of peak", "bytes of code", "kernel"],
                 [[r["id"], shape_of(r), f"{100 * r['sparsity']:.1f}%", r["dense"], f"{r['dense_us']:.1f}",
                   f"{r['sparse_us']:.1f}", times(r["speedup"]), share(r["peak_fraction"]), f"{r['code_bytes']:,}",
                   f"{r['kernel']}: {r['schedule']}"] for r in rows])


def seeds_of(sparsity):
    return SEEDS if sparsity in (0.9, 0.95) else SEEDS[:1]


def products(bench):
    lines = ["## Sparse products", "",
             "Y[M,N] = W[M,K] X[K,N], one thread, the shapes of SPARSERT's table (`bench/problems/spmm.csv`), random "
             "patterns. Dense: the faster of oneDNN and OpenBLAS on the same row-major X and Y, in alternation; ratios of "
             "medians. Geometric means, of seed 1 (least to greatest of seeds 1 to 3).", ""]
    runs = {(layout, z): [bench.run("spmm", "spmm", sparsity=z, seed=seed, layout=layout) for seed in seeds_of(z)]
            for layout in ("rows", "panels") for z in SPARSITIES}
    for key, say, what in (("geomean_speedup", times, "speed-up"), ("min_speedup", times, "least speed-up"),
                           ("geomean_peak_fraction", share, "share of the peak of multiply-adds")):
        lines += table([what, *(f"{100 * z:.0f}%" for z in SPARSITIES)],
                       [[layout, *(spread([s for _, s in runs[layout, z]], key, say) for z in SPARSITIES)]
                        for layout in ("rows", "panels")])
    for layout in "rows", "panels":
        first = [runs[layout, z][0][0] for z in SPARSITIES]
        shapes = max(first, key=len)
        lines += [f"Speed-up by shape, X and Y in {layout}:", ""]
        lines += table(["id", "shape", *(f"{100 * z:.0f}%" for z in SPARSITIES)],
                       [[r["id"], shape_of(r), *(times(rows[i]["speedup"]) if rows else "-" for rows in first)]
                        for i, r in enumerate(shapes)])
        lines += [f"At 90%, X and Y in {layout}, with what the tuner chose:", "", *details(runs[layout, 0.9][0][0])]
    return lines


def convolutions(bench):
    lines = ["## 3x3 convolutions", "",
             "One picture, NCHW, one thread. Dense: the fastest of oneDNN's direct and Winograd convolutions, in its own "
             "layouts.", ""]
    runs = {z: [bench.run("conv", "conv3x3", sparsity=z, seed=seed) for seed in SEEDS] for z in (0.9, 0.95)}
    lines += table(["zeros", "speed-up", "least"],
                   [[f"{100 * z:.0f}%", spread([s for _, s in runs[z]], "geomean_speedup", times),
                     spread([s for _, s in runs[z]], "min_speedup", times)] for z in runs])
    return lines + [line for z in runs for line in details(runs[z][0][0])]


def real_matrices(bench, folder):
    names = {"spmm": ("mobilenet", "mobilenet_v1_90.npz"), "conv": ("resnet", "resnet50_conv3x3_90.npz")}
    lines = ["## Real matrices", "", "A MobileNet V1 and a ResNet-50 pruned to 90%, one thread.", ""]
    for kind, (problems, weights) in names.items():
        path = os.path.join(folder, weights)
        if os.path.exists(path):
            rows, summary = bench.run(kind, problems, weights=path)
            lines += [f"{weights}: {times(summary['geomean_speedup'])} in the geometric mean." if summary else
                      "left out: no time", "", *details(rows)]
        else:
            lines += [f"{weights}: not there.", ""]
    return lines


def other_settings(bench, cores):
    """AVX2; all cores."""
    avx2, summary_avx2 = bench.run("spmm", "spmm", sparsity=0.9, isa="avx2", vs="onednn")
    lines = ["## AVX2", "", "At 90%, rows, against oneDNN limited to AVX2: "
             + (f"{times(summary_avx2['geomean_speedup'])} in the geometric mean, {times(summary_avx2['min_speedup'])} "
                "at least." if summary_avx2 else "left out: no time."), "", *details(avx2)]
    if cores < 2:
        return lines
    both, _ = bench.run("spmm", "spmm", sparsity=0.9, threads=cores)
    gains = [r["gain"] for r in both if r["one_thread_us"] > 100]
    lines += [f"## {cores} threads", "", f"At 90%, rows. Gain: our time on one thread over that on {cores}, in alternation; "
              f"of those that take over 100 us on one, {times(geomean(gains))} in the geometric mean, "
              f"{times(min(gains, default=None))} at least.", ""]
    lines += table(["id", "shape", "deft, 1 thread, us", f"{cores} threads, us", "gain", "dense us", "speed-up"],
                   [[r["id"], shape_of(r), f"{r['one_thread_us']:.1f}", f"{r['sparse_us']:.1f}", times(r["gain"]),
                     f"{r['dense_us']:.1f}", times(r["speedup"])] for r in both])
    return lines


def vectors(bench, cores):
    lines = ["## A matrix times a vector", "",
             "Batch 1 at 90%. From memory: each side goes round as many copies of its weights as no cache holds. Dense: "
             "the fastest of sgemm, sgemv and matmul of oneDNN and OpenBLAS, with weights packed ahead or not.", ""]
    rows = []
    for cold, threads in [(True, t) for t in sorted({1, cores})] + [(False, t) for t in sorted({1, cores})]:
        for r in bench.run("spmm", "memory" if cold else "vector", sparsity=0.9, threads=threads, cold=cold)[0]:
            rows.append([shape_of(r), "memory" if cold else "caches", threads, r["dense"], f"{r['dense_us']:.1f}",
                         f"{r['sparse_us']:.1f}", times(r["speedup"]), f"{r['weight_bytes']:,}",
                         f"{r['weight_bytes'] / r['sparse_us'] / 1000:.1f}", f"{r['kernel']}: {r['schedule']}"])
    return lines + table(["shape", "weights in", "threads", "dense", "us", "deft us", "speed-up", "bytes of weights",
                          "GB/s", "kernel"], rows)


def columns(bench):
    lines = ["## Few columns", "", "One thread: speed-up over the faster of oneDNN and OpenBLAS, by N.", ""]
    for z in 0.9, 0.7:
        rows, _ = bench.run("spmm", "columns", sparsity=z)
        ns = sorted({r["n"] for r in rows})
        sizes = list(dict.fromkeys((r["m"], r["k"]) for r in rows))
        cells = {(r["m"], r["k"], r["n"]): r for r in rows}
        lines += table([f"{100 * z:.0f}%", *ns], [[f"{m}x{k}", *(times(cells[m, k, n]["speedup"]) for n in ns)]
                                                  for m, k in sizes])
    return lines


def never_slower(bench, cores):
    lines = ["## Never slower than dense", "",
             "Shapes small and large (`bench/problems/sweep.csv`) at any share of zeros: least speed-up over oneDNN, and "
             "where. Where nothing sparse is faster, the tuner takes oneDNN itself, and what is left is noise.", ""]
    rows = []
    for threads in sorted({1, cores}):
        for z in 0, 0.3, 0.5, 0.7, 0.9, 1:
            found, summary = bench.run("spmm", "sweep", sparsity=z, threads=threads, vs="onednn")
            worst = min(found, key=lambda r: r["speedup"], default=None)
            rows.append([f"{100 * z:.0f}%", threads, *((times(summary["geomean_speedup"]), times(worst["speedup"]),
                                                        f"{shape_of(worst)}, {worst['dense_us']:.1f} us, {worst['kernel']}")
                                                       if worst else ("-", "-", "left out: no time"))])
    return lines + table(["zeros", "threads", "geometric mean", "least", "at"], rows)


def plain_loops(bench):
    rows, summary = bench.run("spmm", "spmm", sparsity=0.9, vs="onednn,naive")
    keys = ["triple_loop_us", "interchanged_us", "tiled_us", "csr_us", "coo_us"]
    lines = ["## Plain loops", "", "What one would write first, compiled with the same flags, at 90%, rows, one thread: "
             "times as long as deft takes.", ""]
    return lines + table(["id", "shape", "oneDNN", "triple loop", "interchanged", "tiled", "CSR", "COO"],
                         [[r["id"], shape_of(r), times(r["speedup"]),
                           *(times(r[key] / r["sparse_us"]) for key in keys)] for r in rows])


def sections(deft, seconds, minutes, weights_folder, cores):
    bench = Bench(deft, seconds, minutes)
    lines = [*products(bench), *convolutions(bench), *real_matrices(bench, weights_folder), *vectors(bench, cores),
             *columns(bench), *other_settings(bench, cores), *never_slower(bench, cores), *plain_loops(bench)]
    if bench.left_out:
        lines += [f"{bench.left_out} runs were left out: they would have begun after {minutes} minutes.", ""]
    return "\n".join(lines)
