"""Floor 5: analysis takes wirings apart and returns numbers, never drawings.

Import from its modules: ``degrees``, ``overlap``, ``paths``, ``cost``, ``collapse``, ``profiles``, ``spectrum``.
"""
