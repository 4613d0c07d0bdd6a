"""Floor 8: measurements that anyone can repeat; each says what it ran on and how busy the machine was."""
