"""The page that a batch leaves behind with ``--report``: one file of HTML, which needs nothing besides itself."""
