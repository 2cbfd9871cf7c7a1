# SPDX-License-Identifier: LGPL-2.1-or-later
#
# steps.sh: what ./test and ./demo share: steps that show their name, stop the run when they
# fail, and are listed with their times at the end.  To be sourced with the top folder as
# working directory.
set -euo pipefail

# The distribution's tools come first: another python3 on PATH could not load the module.
export PATH=/usr/bin:/bin:$PATH
export LC_ALL=C.UTF-8
MESON=/usr/bin/meson
NINJA=/usr/bin/ninja
PYTHON=/usr/bin/python3

step_names=()
step_times=()
run_name=$(basename "$0")

print_steps() {
    local i total=0
    echo
    for i in "${!step_names[@]}"; do
        printf '  %-48s %4d s\n' "${step_names[i]}" "${step_times[i]}"
        total=$((total + step_times[i]))
    done
    printf '  %-48s %4d s\n' "all" "$total"
}

# step NAME COMMAND [ARG ...]
step() {
    local name=$1 start=$SECONDS status=0
    shift
    echo
    echo "== $name"
    "$@" || status=$?
    step_names+=("$name")
    step_times+=($((SECONDS - start)))
    if [[ $status != 0 ]]; then
        print_steps
        echo "$run_name: FAILED in step '$name' (status $status); command: $*" >&2
        exit 1
    fi
}

# build DIR [MESON OPTION ...]: configures it once, then brings it up to date.
build() {
    local dir=$1
    shift
    if [[ ! -e $dir/build.ninja ]]; then
        "$MESON" setup "$dir" "$@" || return
    fi
    "$NINJA" -C "$dir"
}

# meson_tests DIR [ARG ...]
meson_tests() {
    local dir=$1
    shift
    "$MESON" test -C "$dir" --no-rebuild --print-errorlogs "$@"
}
