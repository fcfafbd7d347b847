"""A local server that speaks the service's API, its errors and its faults: every bad day, offline and repeatable.

``with Emulator() as server:`` gives ``server.base_url`` for any OpenAI client. Replies follow from the request alone;
``server.script`` holds what the next requests get instead: texts, assistant messages, functions that make one of the
request's body, or a :class:`Fault`. It shares nothing with the clients but the error table, so that it can prove them
wrong.
"""

from novita_openai.emulator.answers import Answer
from novita_openai.emulator.faults import FAULTS, Fault, FaultKind
from novita_openai.emulator.requests import MODELS, Model
from novita_openai.emulator.server import Emulator, Request

__all__ = ["FAULTS", "MODELS", "Answer", "Emulator", "Fault", "FaultKind", "Model", "Request"]
