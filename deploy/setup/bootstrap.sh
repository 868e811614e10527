#!/bin/sh
# Finds an interpreter that will do and hands over to `python -m deploy.setup`.
#
#   sh deploy/setup/bootstrap.sh [--here] LOCK [COMMAND [ARGUMENT ...]]
#
# PRIMACY_BASE_PYTHON chooses the interpreter, PRIMACY_HOME the folder for what is installed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(dirname -- "$(dirname -- "$here")")

fits() {
    command -v "$1" >/dev/null 2>&1 && "$1" -B "$here/fit.py" 2>/dev/null
}

choose() {
    if [ -n "${PRIMACY_BASE_PYTHON:-}" ]; then
        fits "$PRIMACY_BASE_PYTHON" && { echo "$PRIMACY_BASE_PYTHON"; return 0; }
        echo "primacy: PRIMACY_BASE_PYTHON=$PRIMACY_BASE_PYTHON will not do: it must be Python 3.11 or newer," >&2
        echo "primacy: and, when you are root, one that other users may run" >&2
        return 1
    fi
    for one in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3 /usr/local/bin/python3; do
        fits "$one" && { echo "$one"; return 0; }
    done
    return 2
}

python=$(choose) && found=0 || found=$?
if [ "$found" = 2 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "primacy: no Python 3.11 or newer that other users may run: installing the system's" >&2
    apt-get update -q >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3 python3-venv >/dev/null 2>&1 || true
    python=$(choose) && found=0 || found=$?
fi
if [ "$found" = 2 ]; then
    echo "primacy: Python 3.11 or newer is needed. Root must run:  apt-get update && apt-get install -y python3 python3-venv" >&2
fi
[ "$found" = 0 ] || exit 1

cd -- "$source"
exec "$python" -B -m deploy.setup "$@"
