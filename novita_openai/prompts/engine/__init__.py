"""Writing and reading prompts: turns become segments, and segments with separators between them become text.

Downwards, ``conversion`` chooses the separators for the date and the tools of a prompt; ``codec`` trims and folds turns
(``trimming``, ``folding``), refuses what would be lost (``losses``), and makes segments of them (``reasoning``, the
dialects of tool calls); ``table`` puts the separators between, and shows that control strings (``control``) stand only
there. What else may hold some, ``codec`` compares with the same turns without their texts (``blanking``). Upwards,
``scanner`` splits a prompt at the separators, and ``codec`` writes what it read again: it accepts only a prompt that
comes out the same. ``description`` holds all that differs between formats, as data.
"""
