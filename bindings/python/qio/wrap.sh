#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# wrap.sh OUT SWIG ARG ...: runs SWIG and checks that its output has the method tables that
# pyobject.c hangs on our types, under the names that qio.i expects: a SWIG that names them
# otherwise is told here, not by a compiler.  The Python file that SWIG writes is of no use.
# Methods are named in errors as Python does.
set -eu
out=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
swig=$1
input=$2
shift 2
"$swig" "$@" -outdir "$scratch" -o "$out" "$input"
# In its errors a method has the name of a C function: "Channel_pread() missing ...".
sed -i -E -e 's/(TupleAndKeywords\(args, kwargs, "[O|]*:)(Channel|Listener|Loop|Watch|TLSCreds)_/\1\2./' \
    -e 's/(UnpackTuple\(args, ")(Channel|Listener|Loop|Watch|TLSCreds)_/\1\2./' "$out"
for noun in channel listener loop watch creds; do
    if ! grep -q "SwigPyBuiltin__qioh_${noun}_methods\[\]" "$out"; then
        rm -f "$out"
        echo "wrap.sh: this SWIG has no table SwigPyBuiltin__qioh_${noun}_methods" >&2
        exit 1
    fi
done
