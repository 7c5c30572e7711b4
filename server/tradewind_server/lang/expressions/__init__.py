"""Expressions: YAQL `<% … %>` and Jinja `{{ … }}`, `{% … %}`.

A text is compiled once (`compile_template`) and evaluated in a `Scope`: layers of variables and the `Facts`
that the engine knows. Nothing here reads a clock or draws a random number; the same scope gives the same
value. An evaluation runs under a budget of steps and bytes, and its result is a business value (see
`lang/values.py`) that may share parts with the scope: nobody changes it.
"""

from tradewind_server.lang.expressions.problems import ExpressionError, ExpressionSyntaxError
from tradewind_server.lang.expressions.scope import Facts, Scope
from tradewind_server.lang.expressions.templates import Template, compile_template, is_single_expression

__all__ = [
    "ExpressionError",
    "ExpressionSyntaxError",
    "Facts",
    "Scope",
    "Template",
    "compile_template",
    "is_single_expression",
]
