"""Policies that are functions: engine kind 'python'."""

import importlib
from functools import cache

from bakeoff.errors import UsageError
from bakeoff.task import PythonPolicy


@cache
def load_function(name: str) -> PythonPolicy:
    """The function behind ``package.module:name``. Raises UsageError."""
    module_name, _, attribute = name.partition(":")
    try:
        function: PythonPolicy = getattr(importlib.import_module(module_name), attribute)
        if not callable(function):
            raise ValueError(f"{name} is not callable")
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"python policy {name!r} cannot be loaded: {error}",
            cure="name it as package.module:function, and install the package beside bakeoff",
        ) from error
    return function
