"""No types: ``novita_openai.types`` is ``openai.types`` itself, and what is below it is imported from there."""

raise ImportError(
    "novita_openai.types is openai.types itself: import what is below it from there,"
    " as in `from openai.types.chat import ChatCompletion`"
)
