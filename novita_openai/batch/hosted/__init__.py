"""Batches that the service's own fleet runs: https://novita.ai/docs/guides/llm-batch-api.

Rows go into :mod:`.parts`, of one model and one endpoint each; :mod:`.drafts` gathers them. Every step of a part is in
the :mod:`.ledger` before the next is taken, so that a start knows what the service has, whatever ended the last one.
:mod:`.service` does what is asked of the service, and :mod:`.decisions` says what its answers mean. :mod:`.submitting`
brings parts to the service, :mod:`.collecting` what they came to into the files of results, and :mod:`.fleet` goes
through all of it.
"""
