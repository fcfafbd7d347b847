"""How model families write tools, calls and results."""
