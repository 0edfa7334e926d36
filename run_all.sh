#!/bin/sh
# One command for the whole paper: environment, data, experiments, notebooks, figures, report. --help lists the flags.
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
exec "$python" -P -m gfe_companion run "$@"
