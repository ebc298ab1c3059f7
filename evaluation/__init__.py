"""Quality: one file for each group of the report card."""
