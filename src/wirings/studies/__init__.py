"""Floor 7: one file per published experiment: its runs, tables, figures and claims, as data."""
