"""What the network did, read from exceptions of httpx and httpx2, aiohttp, anyio, pydantic and the standard library.

They are recognised by the names of their classes, anywhere in the chain of causes of an SDK error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from novita_openai.sdk.library import http_library

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "NETWORK_ERRORS",
    "NEVER_CONNECTED",
    "TIMEOUT",
    "TRANSPORT_ERRORS",
    "VALIDATION_ERROR",
    "cause_in_words",
    "forget_frames",
    "is_certificate_error",
    "is_cut",
    "is_foreign",
    "is_named",
    "is_network_error",
    "is_of_another_loop",
    "lost_connection",
    "never_connected",
    "replacement_cause",
    "was_tried",
]

VALIDATION_ERROR: Final = "ValidationError"
TIMEOUT: Final = "TimeoutException"
TRANSPORT_ERRORS: Final = ("RequestError", "ClientError")
NETWORK_ERRORS: Final = ("RequestError", "ClientError", "SSLError", "EndOfStream", "OSError")
CERTIFICATE_ERRORS: Final = ("SSLCertVerificationError", "ClientConnectorCertificateError")
NEVER_CONNECTED: Final = (
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ConnectionRefusedError",
    "gaierror",
    *CERTIFICATE_ERRORS,
)
# What is said of each; the first that occurs in a chain decides, so what is more exact comes first.
_WORDS: Final[Mapping[str, str]] = {
    "gaierror": "there is no host of that name",
    "ConnectionRefusedError": "it refuses connections, as nothing listens on that port",
    "SSLCertVerificationError": "its certificate is not trusted",
    "SSLError": "no TLS connection can be made with it",
    "ProxyError": "the proxy before it refuses the connection",
    "PoolTimeout": "all connections of the client were in use for too long",
    "SocketTimeoutError": "it sent nothing for too long",
    "ReadTimeout": "it sent nothing for too long",
    "WriteTimeout": "it took nothing for too long",
    "ConnectionTimeoutError": "no connection came about in time",
    "ConnectionResetError": "it cut the connection",
    "BrokenPipeError": "it cut the connection",
    "ClientConnectionError": "it cut the connection",
    "ClientPayloadError": "it cut the connection",
    "ConnectTimeout": "no connection came about in time",
    "RemoteProtocolError": "it closed the connection before the answer was whole, or sent what is not HTTP",
    "ReadError": "it cut the connection",
    "WriteError": "it cut the connection",
    "TimeoutError": "it took too long",
}


def is_named(error: BaseException | None, *names: str) -> bool:
    """Tell whether an exception is of a class of such a name, or of one derived from it."""
    return any(parent.__name__ in names for parent in type(error).__mro__)


def is_network_error(error: BaseException | None) -> bool:
    """Tell whether the network failed; False where the request could never be sent (a bad header, a closed client)."""
    return is_named(error, *NETWORK_ERRORS) and not is_named(error, "LocalProtocolError")


def was_tried(error: BaseException) -> bool:
    """Tell whether the network failed; False where the request could never be sent (a bad header, a closed client)."""
    cause = error.__cause__
    if cause is None or hasattr(error, "partial_text"):  # only errors of streams that have begun have it
        return True
    return is_network_error(cause) or is_of_another_loop(cause)  # whose connections a further attempt does not use


def is_cut(error: BaseException) -> bool:
    """Tell whether the network broke a stream; False where it has brought no whole answer for another reason."""
    return not hasattr(error, "partial_text") or error.__cause__ is None or is_network_error(error.__cause__)


def lost_connection(error: BaseException) -> BaseException | None:
    """Return aiohttp's error behind an SDK error: its transport reports any lost connection as ``ConnectTimeout``."""
    return next((each for each in _causes(error) if is_named(each, "ClientConnectionError")), None)


def never_connected(error: BaseException) -> bool:
    """Tell whether an error came before there was a connection, so that nothing was sent."""
    if (lost := lost_connection(error)) is not None:
        return is_named(lost, "ClientConnectorError", "ConnectionTimeoutError", *CERTIFICATE_ERRORS)
    return any(is_named(each, *NEVER_CONNECTED) for each in _causes(error))


def is_certificate_error(error: BaseException) -> bool:
    """Tell whether the server's certificate was refused."""
    return any(is_named(each, *CERTIFICATE_ERRORS) for each in _causes(error))


def cause_in_words(error: BaseException, url: str = "") -> str:
    """Say what the network did: what the host did, in words; "" where the chain of causes names nothing known.

    Where no connection was made to the host of ``url``, it may be the proxy of the environment that cannot be reached.
    """
    words, proxy = _in_words(error), _proxy_to(url) if never_connected(error) else ""
    return f"{words}; the environment names the proxy {proxy} for it" if words and proxy else words


def _proxy_to(url: str) -> str:
    """Return the host and port of the proxy that the environment names for an address, "" without one."""
    from urllib.request import getproxies, proxy_bypass  # takes long, and is needed after failures alone

    address = urlsplit(url)
    if not address.hostname or proxy_bypass(address.hostname):
        return ""
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all") or ""
    return urlsplit(proxy if "://" in proxy else f"//{proxy}").netloc.rpartition("@")[2]


def _in_words(error: BaseException) -> str:
    chain = [*_causes(error)][1:]
    name = next((name for name in _WORDS if any(is_named(each, name) for each in chain)), None)
    if name is None:
        number = next((each.errno for each in reversed(chain) if isinstance(each, OSError) and each.errno), None)
        return "" if number is None else f"it cannot be reached ({os.strerror(number)})"
    reason = next((getattr(each, "verify_message", "") for each in chain if hasattr(each, "verify_message")), "")
    return _WORDS[name] + (f" ({reason})" if reason else "")


def is_foreign(error: BaseException) -> bool:
    """Tell whether aiohttp or h11 took part in a failure: their frames, and some exceptions, hold the sent headers."""
    return any(_is_of_aiohttp(each) or _passed_holders(each.__traceback__) for each in _causes(error))


def _is_of_aiohttp(error: BaseException) -> bool:
    """Tell whether an exception is aiohttp's, as others have a ``ClientError`` too."""
    kinds = (parent for parent in type(error).__mro__ if parent.__name__ == "ClientError")
    return any(kind.__module__.partition(".")[0] == "aiohttp" for kind in kinds)


def _passed_holders(trace: TracebackType | None) -> bool:
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("aiohttp", "h11"):
            return True
        trace = trace.tb_next
    return False


def replacement_cause(error: BaseException) -> tuple[bool, BaseException | None]:
    """Tell whether an error over aiohttp must be replaced by a connection error of the SDK, and name its cause.

    So it is with exceptions of aiohttp, those that hold headers, and lost connections, which the transport calls
    timeouts.
    """
    if any(is_named(each, "ClientResponseError") for each in _causes(error)):
        return True, http_library().RemoteProtocolError("The response is not HTTP.")
    lost = lost_connection(error)
    return _is_of_aiohttp(error) or (lost is not None and not is_named(lost, "TimeoutError")), lost


def is_of_another_loop(error: BaseException) -> bool:
    """Tell whether connections were used in another event loop than the one that they were made in."""
    return any(is_named(each, "RuntimeError") and "loop" in str(each) for each in _causes(error))


def forget_frames(error: BaseException) -> None:
    """Drop the frames of an error and of its causes: those of aiohttp and h11 hold the headers that were sent."""
    for each in _causes(error):
        each.__traceback__ = None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on: of a group the first; below an SDK error also what was not named."""
    yield error
    group = getattr(error, "exceptions", None)
    cause = group[0] if group else error.__cause__
    if cause is None and is_named(error, *_RAISED_BY_LIBRARIES):  # which hide it from tracebacks by `from None`
        cause = error.__context__
    if cause is not None:
        yield from _causes(cause)


_RAISED_BY_LIBRARIES: Final = ("RequestError", "NetworkError", "TimeoutException", "ProtocolError", "ProxyError")
