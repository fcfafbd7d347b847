"""The two directions of a format: turns to text and text to turns, over one table of what stands between them."""
