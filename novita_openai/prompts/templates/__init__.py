"""Formats derived from chat templates, which are programs by strangers: each is run within bounds, and observed.

A ``ChatTemplate`` is compiled for the ``sandbox``, in which a ``meter`` ends what takes too much. ``probe`` renders
chats of made-up words, and notes in a ``Draft`` what the template writes around them. ``verification`` compares the
draft with the template on other chats, with the ``literals`` of its source in their texts, and removes from the
draft what does not hold. ``derivation`` does all this; ``model_folder`` finds the template of a model. A ``derived``
format asks the template again whenever it renders or parses.
"""
