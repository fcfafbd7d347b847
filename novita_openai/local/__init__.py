"""A real small model behind the service's base path, for use without a key.

``with LocalModel() as server:`` gives ``server.base_url`` for any OpenAI client; any key will do.
"""

from novita_openai.local.model import LocalModel
from novita_openai.local.weights import LocalModelError, MissingExtraError, packaged_model

__all__ = ["LocalModel", "LocalModelError", "MissingExtraError", "packaged_model"]
