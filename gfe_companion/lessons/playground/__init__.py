"""The playground: one module of plain JavaScript with two homes, a notebook's page and the report."""
