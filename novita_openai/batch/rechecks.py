"""The check of a run, asked of the answers that earlier runs have stored, which may have had another one or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from novita_openai.batch.checks import VALIDATION_FAILED, flaw_in
from novita_openai.batch.reading import BatchResult
from novita_openai.batch.reopened import keep_spent
from novita_openai.batch.usage import Spent

if TYPE_CHECKING:
    from novita_openai.batch.checks import AnswerCheck
    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.jsonl import Journal
    from novita_openai.batch.worklist import Worklist

__all__ = ["recheck"]

ROWS_A_TURN: Final = 100
"""Answers that are checked before the event loop may turn."""


async def recheck(files: ResultFiles, worklist: Worklist, check: AnswerCheck, is_stopped: Callable[[], bool]) -> None:
    """Remove the answers that do not pass, so that their rows are sent again, and take the rejected ones that do.

    Once ``is_stopped``, nothing is changed. Raises what a function of the program raises; then nothing is changed.
    """

    def is_unfit(result: BatchResult) -> bool:
        return worklist.is_answered(result.custom_id) and flaw_in(check, result) is not None

    def is_fit(result: BatchResult) -> bool:
        was_rejected = (result.error or {}).get("code") == VALIDATION_FAILED
        return was_rejected and worklist.is_failed(result.custom_id) and flaw_in(check, result) is None

    unfit = await _found(files.answers, is_unfit, is_stopped)
    fit = await _found(files.errors, is_fit, is_stopped)
    if is_stopped():
        return
    _take(files, worklist, fit)
    keep_spent(files.reopened, unfit.items())
    _drop(files.answers, unfit)
    for custom_id, spent in unfit.items():
        worklist.reopen(custom_id, spent)


async def _found(
    journal: Journal, is_wanted: Callable[[BatchResult], bool], is_stopped: Callable[[], bool]
) -> dict[str, Spent | None]:
    """Return the custom_ids of the rows of a file that are wanted, and what was spent for each."""
    found: dict[str, Spent | None] = {}
    for count, (_, line) in enumerate(journal.rows()):
        result = BatchResult.read(line)
        if is_wanted(result):
            found[result.custom_id] = Spent.read(result.row.get("spent"))
        if count % ROWS_A_TURN == 0:
            await asyncio.sleep(0)
            if is_stopped():
                break
    return found


def _take(files: ResultFiles, worklist: Worklist, custom_ids: Collection[str]) -> None:
    """Make answers of rejected rows: they are written as such before they are no failures any more."""
    for _, line in files.errors.rows() if custom_ids else ():
        row: dict[str, Any] = json.loads(line)
        if row["custom_id"] in custom_ids:
            files.answers.append(json.dumps(row | {"error": None}).encode())
            worklist.accept(row["custom_id"])
    _drop(files.errors, custom_ids)


def _drop(journal: Journal, custom_ids: Collection[str]) -> None:
    if custom_ids:
        journal.replace(line for _, line in journal.rows() if json.loads(line)["custom_id"] not in custom_ids)
