"""What is imported when: the domain pulls in no heavy library, the command line nothing a command does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "sentence_transformers", "gradio", "anthropic", "openai", "llama_cpp", "peft"}


def imported_by(statement: str) -> set[str]:
    """The top-level modules that are there after a statement in a fresh interpreter, our own with their full names."""
    program = f"{statement}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    names = json.loads(result.stdout.splitlines()[-1])
    return {name if name.startswith(("mediator", "trainer", "ui")) else name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "module",
    [
        "mediator",
        "mediator.mediation",
        "mediator.strategies",
        "mediator.empathy",
        "mediator.disputes",
        "mediator.models",
        "mediator.cli",
        "mediator.terminal",
        "ui.cli",
    ],
)
def test_importing_the_domain_pulls_in_nothing_heavy(module):
    loaded = imported_by(f"import {module}")
    assert module in loaded
    assert loaded & HEAVY == set()


def test_no_module_of_the_domain_imports_a_heavy_library_or_the_packages_above_it():
    modules = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in sorted((REPOSITORY / "mediator").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    assert "mediator.writers.claude" in modules
    loaded = imported_by("\n".join(f"import {module}" for module in modules))
    assert set(modules) <= loaded
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith(("trainer", "ui"))} == set()


@pytest.mark.parametrize("arguments", [["--help"], ["propose", "--help"], ["propose", "-n", "x"]])
def test_help_and_usage_errors_wait_for_nothing(arguments):
    loaded = imported_by(f"from ui.cli import main; main({arguments!r})")
    assert loaded & (HEAVY | {"numpy", "pydantic", "yaml", "rich"}) == set()


def test_scoring_on_the_command_line_needs_no_torch_and_no_page():
    arguments = ["score", "library-hours", "--text", "Quiet until three.", "--json"]
    loaded = imported_by(f"from ui.cli import main; assert main({arguments!r}) == 0")
    assert "llama_cpp" in loaded
    assert loaded & (HEAVY - {"llama_cpp"}) == set()
