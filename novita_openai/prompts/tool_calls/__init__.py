"""Tool calls in prompts: how each model family writes declarations, calls and results, and how they are read back.

``calls`` brings the calls of messages into one shape; a ``Dialect`` turns messages with calls into messages of text
alone, which the engine writes, and back. Each family's dialect has a module; ``families`` lists them by the names that
formats give them.
"""
