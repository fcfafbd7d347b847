"""Formats derived from chat templates: run in bounds, observed, drafted, and proved against the template."""
