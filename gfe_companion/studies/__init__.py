"""One module a notebook: the runs that it needs, its tables, its figures and its sentences."""
