"""Floor 0-1: topologies, wirings and the small values that every other floor speaks in."""
