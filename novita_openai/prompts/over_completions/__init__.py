"""Chats carried over the completions endpoint: bodies there, answers and streams back."""
