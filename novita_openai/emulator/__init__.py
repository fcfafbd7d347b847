"""A local server that speaks the service's API, with its errors, limits and faults: offline and repeatable.

``with Emulator() as server:`` gives ``server.base_url`` for any OpenAI client. Equal requests get equal answers;
``server.script`` holds what the next requests get instead: texts, assistant messages, functions that get the request's
body and return one of these, or a :class:`Fault`. The emulator shares nothing with the clients but the error table, so
that tests with it can find the clients' mistakes.

``server`` decides what a request gets, and ``wire`` sends it; the table of faults is in ``faults``.
"""

from novita_openai.emulator.answers import Answer
from novita_openai.emulator.faults import FAULTS, Fault, FaultKind
from novita_openai.emulator.models import MODELS, Model, Tier
from novita_openai.emulator.server import Emulator, Request

__all__ = ["FAULTS", "MODELS", "Answer", "Emulator", "Fault", "FaultKind", "Model", "Request", "Tier"]
