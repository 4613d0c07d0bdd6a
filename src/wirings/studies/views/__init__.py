"""Tables and figures that several studies share, as functions of records: `comparison`, `structure`."""
