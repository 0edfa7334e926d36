"""What readers see: pages of notebooks, the report, and what is published."""
