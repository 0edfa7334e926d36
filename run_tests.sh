#!/bin/sh
# One command for the test suite: environment, then pytest, which gets the arguments. --help says more.
set -eu
self=$0
while [ -h "$self" ]; do  # called through a link, perhaps to another link
    to=$(readlink "$self") || { echo "${0##*/}: $self is a link that cannot be followed; call it at its place" >&2; exit 3; }
    case $to in /*) self=$to ;; *) self=$(dirname "$self")/$to ;; esac
done
case $self in */*) root=${self%/*} ;; *) root=. ;; esac
root=$(CDPATH='' cd -- "${root:-/}" && pwd -P)
. "$root/gfe_companion/cli/python.sh"
export PYTHONPATH="$root"
exec "$python" -P -m gfe_companion test "$@"
