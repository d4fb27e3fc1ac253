"""Imports Gradio in half its usual time."""

import inspect
from typing import Any


def load_gradio() -> None:
    """Import Gradio without its rewriting of type stubs.

    At every start Gradio parses the source of each of its components to write .pyi files beside them, for editors:
    1.8 of 3.7 seconds where this was measured, and files in the installed package. It leaves this out for a component
    without a source file, so while it is imported its components have none. Should Gradio change, at worst the import
    is slow again.
    """
    real = inspect.getfile

    def getfile(thing: Any) -> str:
        if type(thing).__module__ == "gradio.component_meta":
            raise OSError("no stub is wanted")
        return real(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = real
