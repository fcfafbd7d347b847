"""Chats over the completions endpoint: for models and servers without a chat endpoint, or to control the prompt.

``requests`` turns a chat request into one for a completion; ``responses`` turns the completion back into a chat
completion, and ``chunks`` a stream of them into a stream of chat chunks, by the ``deltas`` of each choice. ``chats``
puts them around a client's call: ``prompts.chat`` and ``prompts.achat``. ``checking`` compares a format with a live
server: ``prompts.check``.
"""
