# Sourced by run_all.sh and run_tests.sh: leaves in $python the first Python that is new enough.
# Only the shell's own commands are used, so that the one line below is the only thing said where there is no Python.
# Where stdin, stdout or stderr was closed, the next file to be opened would take its place and be written into.
(: <&0) 2>/dev/null || exec </dev/null
(: >&1) 2>/dev/null || exec >/dev/null
(: >&2) || exec 2>/dev/null
here=$(pwd -P 2>/dev/null) || here=
if [ -z "$here" ]; then
    echo "${0##*/}: the folder that you are in is no longer there: go to another one (cd), then call this again" >&2
    exit 2
fi
# What the caller tells other Pythons is not for this one: it could keep every candidate from starting.
set -f
for word in $(export -p); do
    name=${word%%=*}
    case $name in
        *[!A-Za-z0-9_]* | PYTHONDONTWRITEBYTECODE | PYTHONFAULTHANDLER | PYTHONPYCACHEPREFIX | PYTHONUNBUFFERED) ;;
        PYTHON*) unset "$name" ;;
    esac
done
set +f
export PYTHONUTF8=1 PYTHONNOUSERSITE=1
python=
for candidate in python3 python python3.14 python3.13 python3.12 python3.11; do
    answer=$("$candidate" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null </dev/null) || continue
    if [ "$answer" = True ]; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "${0##*/}: no Python 3.11 or newer is on the PATH: install one (Debian, Ubuntu: sudo apt-get install python3" \
        "python3-venv; elsewhere: https://www.python.org/downloads), then call this again" >&2
    exit 3
fi
