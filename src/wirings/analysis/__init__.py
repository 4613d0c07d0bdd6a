"""Floor 5: analysis takes wirings apart and returns numbers, never drawings.

Import from its modules; ``docs/analysis.md`` says which answers what:

* wirings: ``degrees``, ``overlap``, ``paths``, ``collapse``, ``spectrum``
* scores, before any training: ``compression``, ``conservation``
* networks: ``profiles``, ``similarity``; what they cost: ``cost`` in operations and bytes, ``forecast`` in seconds
* many runs: ``statistics``, ``claims``
"""
