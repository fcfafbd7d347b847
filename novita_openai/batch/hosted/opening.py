"""The parts of a job at the service, where it has any or is to have some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from novita_openai.batch.hosted.decisions import FIRST_POLL
from novita_openai.batch.hosted.fleet import Fleet
from novita_openai.batch.hosted.ledger import Ledger, ledger_path
from novita_openai.batch.hosted.options import FleetOptions
from novita_openai.batch.options import is_hosted
from novita_openai.batch.requests import BatchInputError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from novita_openai.batch.files import ResultFiles
    from novita_openai.batch.options import RunOptions
    from novita_openai.batch.requests import Source
    from novita_openai.batch.session import Session

__all__ = ["opened_fleet"]


def opened_fleet(
    stack: AsyncExitStack, files: ResultFiles | None, source: Source, session: Session, options: RunOptions
) -> Fleet | None:
    """Return the fleet of a job, None where the service has nothing of it and is to have nothing.

    Raises :class:`BatchInputError` where no later start could know what the service has.
    """
    is_used = is_hosted(options)
    if files is None:
        if is_used:
            raise BatchInputError(["the Batch API needs a file for the results, beside which is kept what it has"])
        return None
    path = ledger_path(files.answers.path)
    if not (is_used or path.exists()):
        return None
    if source.is_file(path):
        raise BatchInputError([f"{path}: what the service has would be written into the input"])
    ledger = stack.enter_context(Ledger(path))
    cancels = bool(options.get("cancel"))
    return Fleet(
        files,
        ledger,
        session,
        FleetOptions(
            is_used=is_used and not cancels,
            cancels=cancels,
            detaches=bool(options.get("detach")),
            create_again=bool(options.get("create_again")),
            keep_files=bool(options.get("keep_files")),
            poll=options.get("poll") or FIRST_POLL,
        ),
    )
