"""Floor 8: records become tables, figures and one self-contained page."""
