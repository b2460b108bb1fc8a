#!/bin/sh
# The whole chain of commands under LeakSanitizer: a leak, or any other finding of the sanitizers, is an exit status of its
# own. Runs in an empty folder; skips where the build has no sanitizers.
set -eu
deft=$DEFT_BUILD/deft
if ! grep -q __asan_init "$deft"; then
    echo "skip: leaks are looked for in MODE=asan only"
    exit 77
fi
export LSAN_OPTIONS="suppressions=$DEFT_SOURCE/tools/leaks.supp:print_suppressions=0:exitcode=99"
export ASAN_OPTIONS="detect_leaks=1:exitcode=99"
data=digits:600

# "STATUS ARGUMENTS...": the command must exit with that status.
expect() {
    wanted=$1
    shift
    status=0
    "$deft" "$@" --quiet --json >out 2>&1 || status=$?
    [ "$status" -eq "$wanted" ] && return
    echo "deft $*: exit $status, not $wanted"
    cat out
    exit 1
}

expect 0 new lenet-300-100 -o net.onnx
expect 0 train net.onnx --data $data --epochs 1 -o trained.onnx
expect 0 optimize trained.onnx --data $data --epochs 1 --max-drop 100 -o fast.deft
expect 0 bench fast.deft --batch 8 --runs 5 --vs-dense --profile
expect 0 info fast.deft
expect 0 export fast.deft -o fast.onnx

# What fails half-way gives back what it held, too.
expect 2 info out
expect 2 train net.onnx --data npz:fast.deft -o again.onnx
expect 3 export fast.deft -o /dev/full
expect 2 run fast.deft --input x=fast.onnx

# A session that ran: an array of zeros in NumPy's format, its header padded to 128 bytes.
{
    printf '\223NUMPY\001\000\166\000'
    printf "%-117s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 28, 28), }"
    head -c 6272 /dev/zero
} >x.npy
expect 0 run fast.deft --input x.npy -o y.npy
