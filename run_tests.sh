#!/bin/sh
# One command for the test suite: environment, then pytest, which gets the arguments. --help says more.
set -eu
case $0 in */*) root=${0%/*} ;; *) root=. ;; esac
root=$(CDPATH='' cd -- "$root" && pwd)
. "$root/gfe_companion/cli/python.sh"
export PYTHONPATH="$root"
exec "$python" -P -m gfe_companion test "$@"
