"""Runs: configurations that execute themselves, their store on disk, and the grid that makes many."""
