"""The companion: what turns the method into a reproducible paper. `python -m gfe_core.companion --help` shows more."""
