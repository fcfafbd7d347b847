"""Tables in, tables out: a column of texts becomes a column of answers.

The path of a table: :mod:`.formats` opens it, :mod:`.recipe` makes a request of each row, and :mod:`.source` gives
these to a batch as its rows. Its results go to a journal, as with every batch. Once all have come, :mod:`.answers`
reads them in the order of the table, :mod:`.columns` makes cells of them, and :mod:`.formats` writes the new table.
"""
