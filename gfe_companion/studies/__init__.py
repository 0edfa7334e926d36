"""A module named after each notebook, and its parts: runs, tables, figures and sentences."""
