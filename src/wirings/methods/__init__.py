"""Floor 3: methods change supports while a network trains."""
