"""The frame that LaTeX and HTML put around a table: a jinja2 template."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined


def fill(template: str, **values: object) -> str:
    """A template filled; its marks are << >> and <% %>, since LaTeX has braces of its own."""
    environment = Environment(block_start_string="<%", block_end_string="%>", variable_start_string="<<",
                              variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
                              undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(**values)
