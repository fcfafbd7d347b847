"""A simulated service that limits requests, and pacers that send to it, in no real time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from novita_openai.pacing import Pacer, Ticket

MINUTE = 60
Limit = Callable[[float], float]
Asks = Literal["ms", "s"] | float | None
"""What a refusal asks to wait: the true time in milliseconds, that rounded up to seconds, a fixed time, or nothing."""


@dataclass(kw_only=True)
class Service:
    """Takes ``rate(now)`` requests a second, ``burst`` at once, at most ``most`` in flight, or ``rpm`` each minute.

    An answer takes ``latency``, a refusal as long or ``refusal``. A request takes up to ``way`` seconds to arrive.
    """

    rate: Limit = lambda _: math.inf
    burst: float = 10
    most: float = math.inf
    rpm: int | None = None
    latency: float = 0.05
    refusal: float | None = None
    way: float = 0.0
    asks: Asks = None
    updated: float = 0.0
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.level: float = self.rpm or self.burst

    def seconds(self, *, taken: bool) -> float:
        """Return how long an answer takes, or a refusal."""
        return self.latency if taken or self.refusal is None else self.refusal

    def takes(self, now: float, random: Random) -> bool:
        """Take a request that is sent now, or refuse it."""
        self.fill(max(now + random.uniform(0, self.way), self.updated) if self.way else now)
        taken = self.level >= 1 and self.in_flight < self.most
        self.level -= taken
        self.in_flight += taken
        return taken

    def fill(self, now: float) -> None:
        """Add what has come in until now."""
        if self.rpm is None:
            self.level = min(self.burst, self.level + (now - self.updated) * self.rate(now))
        elif now // MINUTE > self.updated // MINUTE:
            self.level = self.rpm
        self.updated = now

    def asked(self, now: float) -> float | None:
        """Return what a refusal asks to wait."""
        if self.asks == "ms":
            return math.ceil((1 - self.level) / self.rate(now) * 1_000) / 1_000
        if self.asks == "s":
            return math.ceil((1 - self.level) / self.rate(now))
        return self.asks


@dataclass(slots=True)
class Sender:
    """A process that sends so many requests from a time on, by a pacer of its own; ``refused``: when it was refused."""

    pacer: Pacer
    left: int
    begins: float = 0.0
    refused: list[float] = field(default_factory=list)

    def wait(self, now: float) -> float:
        """Return the seconds until its next request may start."""
        return max(self.pacer.wait(now), self.begins - now) if self.left else math.inf


@dataclass(order=True)
class Reply:
    """What comes back at a time, in the order of ``chance`` among those of the same time."""

    time: float
    chance: float
    taken: bool = field(compare=False)
    asked: float | None = field(compare=False)
    ticket: Ticket = field(compare=False)
    sender: Sender = field(compare=False)

    def tell(self, random: Random) -> None:
        """Tell the sender's pacer."""
        pacer = self.sender.pacer
        if self.taken:
            pacer.answered(self.ticket)
            return
        pacer.refused(self.ticket, self.time, self.asked, random=random.random())
        self.sender.left += 1
        self.sender.refused.append(self.time)


def run(senders: Sequence[Sender], service: Service, seed: int, late: float) -> float:
    """Have all of them send to a service; return the seconds that took. Timers fire up to ``late`` seconds late."""
    random, now = Random(seed), 0.0
    replies: list[Reply] = []
    while replies or any(sender.left for sender in senders):
        for sender in senders:
            while sender.wait(now) <= 0:
                sender.left -= 1
                taken = service.takes(now, random)
                due = now + service.seconds(taken=taken) * random.uniform(0.8, 1.2)
                asked = None if taken else service.asked(now)
                reply = Reply(due, random.random(), taken, asked, sender.pacer.start(now), sender)
                heapq.heappush(replies, reply)
        wait = min(sender.wait(now) for sender in senders)
        if replies and replies[0].time <= now + wait:
            reply = heapq.heappop(replies)
            now = reply.time
            service.in_flight -= reply.taken
            reply.tell(random)
        else:
            now += wait + random.uniform(0, late)
    return now


def simulate(  # noqa: PLR0913 - one for each thing that varies
    pacer: Pacer, service: Service, rows: int, seed: int = 1, *, late: float = 0.001, since: float = 0.0
) -> tuple[float, int]:
    """Run rows through a service; return the seconds that took, and the number of refusals since a time."""
    sender = Sender(pacer, rows)
    seconds = run([sender], service, seed, late)
    return seconds, sum(time >= since for time in sender.refused)


def steady(rate: float) -> tuple[Limit, float]:
    """Return a limit, and the seconds that it adds to a job of 30 seconds."""
    return lambda _: rate, 0.0


def step(rate: float) -> tuple[Limit, float]:
    """Return a limit that is half as high for ten seconds, and what that adds."""
    return lambda now: rate / 2 if 10 <= now < 20 else rate, 5.0
