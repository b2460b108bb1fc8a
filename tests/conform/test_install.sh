#!/bin/sh
# What is installed is enough: the examples build through pkg-config alone and run, the header is C++ too, and the library exports what the
# header declares and nothing else. Prints TAP.
set -u
stage=$PWD/stage
prefix=/opt/deft
count=0
failed=0

check() { # NAME COMMAND...
    name=$1
    shift
    count=$((count + 1))
    if "$@" >log 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        sed 's/^/# /' log
        failed=1
    fi
}

# The make that runs this test is not the one that installs.
unset MAKEFLAGS MAKELEVEL MFLAGS MODE
check "make install" make -C "$DEFT_SOURCE" install DESTDIR="$stage" PREFIX=$prefix

export PKG_CONFIG_SYSROOT_DIR="$stage" PKG_CONFIG_LIBDIR="$stage$prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$stage$prefix/lib" PATH="$stage$prefix/bin:$PATH"
flags() { pkg-config --cflags --libs deft; }
build() { # OUT SOURCE: only what a user has
    # shellcheck disable=SC2046
    ${CC:-cc} -std=c17 -Wall -Wextra -Werror "$2" $(flags) -o "$1"
}
says() { # TEXT COMMAND...
    text=$1
    shift
    "$@" | grep -q -- "$text"
}
same_symbols() {
    nm -D --defined-only "$stage$prefix/lib/libdeft.so" | awk '$2 == "T" || $2 == "D" || $2 == "R" || $2 == "B" { print $3 }' |
        sort >exported
    tr '\n' ' ' <"$stage$prefix/include/deft/deft.h" | grep -o 'DEFT_API[^;]*(' | grep -o 'deft_[a-z_0-9]* *(' |
        tr -d ' (' | sort -u >declared
    test -s declared && diff declared exported
}
cplusplus() {
    printf '#include <deft/deft.h>\nint main() { return deft_version()[0] == 0; }\n' >header.cpp
    # shellcheck disable=SC2046
    g++ -Wall -Wextra -Wpedantic -Werror header.cpp $(flags) -o header && ./header
}
version_is_the_headers() {
    version=$(sed -n 's/^#define DEFT_VERSION "\(.*\)"/\1/p' "$DEFT_SOURCE/include/deft/deft.h")
    test "$(pkg-config --modversion deft)" = "$version" && test "$(deft --version)" = "deft $version" &&
        grep -q "Deft $version" "$stage$prefix/share/man/man1/deft.1"
}

check "one version everywhere" version_is_the_headers
check "the library exports what the header declares" same_symbols
if command -v g++ >/dev/null; then
    check "the header is C++" cplusplus
else
    count=$((count + 1))
    echo "ok $count - the header is C++ # skip no g++"
fi
for example in "$DEFT_SOURCE"/examples/*.c; do
    name=$(basename "$example" .c)
    check "$name builds" build "$name" "$example"
done
check "the installed command works" deft new lenet-300-100 -o new.onnx
check "it trains" deft train new.onnx --data digits:1000 --epochs 2 -o net.onnx
check "00_run runs" says "of 10 is the largest" ./00_run net.onnx
check "01_optimize runs" says "<- chosen" ./01_optimize net.onnx digits:1000 fast.deft
check "02_train runs" says "it fell" ./02_train new.onnx learnt.onnx
check "the trained model runs" says "of 10 is the largest" ./00_run learnt.onnx
check "the optimised model runs" says "of 10 is the largest" ./00_run fast.deft
echo "1..$count"
exit $failed
