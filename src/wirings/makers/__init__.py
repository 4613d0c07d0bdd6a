"""Floor 2: makers write a wiring before training; controls make one from another."""
