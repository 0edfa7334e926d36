"""The companion: what turns the method into a reproducible paper. `python -m gfe_companion --help` shows more."""
