"""The pace of a model, found and kept: pure decisions."""

from novita_openai.pacing.law import FEW, FIRST_LIMIT, MOST_IN_FLIGHT, SHARE, Pacer, Ticket
from novita_openai.pacing.rate import LONGEST_PAUSE

__all__ = ["FEW", "FIRST_LIMIT", "LONGEST_PAUSE", "MOST_IN_FLIGHT", "SHARE", "Pacer", "Ticket"]
