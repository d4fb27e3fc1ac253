"""`evenhand models list`: what there is, in JSON and on a screen that nobody may be reading."""

import json

from support.command_line import start

from ui.cli import main


def test_models_list(capsys):
    assert main(["models", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"name", "kind", "about", "installed", "why_not", "size", "licence", "destination"} == set(entries[0])
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    for entry in entries:
        assert f"{entry['name']} [{'installed' if entry['installed'] else 'not installed'}]" in shown


def test_a_reader_that_leaves_early_is_no_failure():
    process = start("models", "list")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
