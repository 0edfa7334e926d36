#!/bin/sh
# One command for the whole paper: environment, data, experiments, notebooks, figures, report. --help lists the flags.
set -eu
case $0 in */*) root=${0%/*} ;; *) root=. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd)
. "$root/gfe_companion/cli/python.sh"
export PYTHONPATH="$root"
exec "$python" -P -m gfe_companion run "$@"
