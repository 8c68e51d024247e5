#!/usr/bin/env bash
# Makes .venv with everything the project needs. Returns at once if that was done before.
#
#   PYTHON      the interpreter to make .venv with (default python3; 3.10 to 3.13)
#   VENV        where the environment goes (default .venv)
#   DETECTRON2  where detectron2 comes from: a URL, a checkout or a wheel. Unset: one that can be
#               imported already is taken, else the pinned commit of its repository.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=02b5c4e295e990042a714712c21dc79b731e8833
repository=https://github.com/facebookresearch/detectron2.git
venv=${VENV:-.venv}
python=${PYTHON:-python3}
source=${DETECTRON2:-}

state="$(cat requirements.txt setup.py tools/install.sh | cksum) $source $PWD"
[ "$(cat "$venv/.installed" 2>/dev/null)" != "$state" ] || exit 0

say() { printf '\n== %s\n' "$*"; }
fail() { printf '\n%s\n' "$*" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
    fail "Python 3.10 to 3.13 is needed, but $python is $("$python" -V 2>&1). Name another one: make PYTHON=python3.11 ..."

[ -x "$venv/bin/python" ] || { say "environment $venv"; "$python" -m venv "$venv"; }
run="$venv/bin/python"

say "pinned requirements (torch is large: some minutes the first time)"
"$run" -m pip install --quiet --disable-pip-version-check -r requirements.txt

if [ -n "$source" ] || ! "$run" -c 'import detectron2.engine' 2>/dev/null; then
    case "$source" in
        "") wanted="detectron2 @ git+$repository@$commit" ;;
        *.whl | *.zip | *.tar.gz | git+*) wanted=$source ;;
        *://*) wanted="git+$source" ;;
        *) wanted=$source ;;
    esac
    say "$wanted (compiles for some minutes)"
    # Its setup imports torch, so it must see this environment; its older requirements are pinned.
    "$run" -m pip install --quiet --disable-pip-version-check --no-build-isolation \
        -c requirements.txt "$wanted" ||
        fail "detectron2 could not be installed from: $wanted
It is on no package index. Either make $repository reachable, or get a
checkout or a wheel of it (commit $commit) and name it:
    make DETECTRON2=/path/to/detectron2 ..."
fi
"$run" -W ignore -c 'import detectron2.engine' || fail "detectron2 is installed but cannot be imported; see the error above"

say "this package, editable"
"$run" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
printf '%s\n' "$state" > "$venv/.installed"
