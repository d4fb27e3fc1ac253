"""What fails is a sentence on the screen and a traceback in the log, and neither holds what is confidential."""

import json

from support.command_line import TWO, VIEWS
from support.messages_server import answering, scripted_server

from ui.cli import main

SECRET = "the neighbours' pear tree"


def test_what_was_finished_is_printed_when_the_work_fails_half_way(capsys, log):
    with scripted_server(answering(*TWO), lambda answer: answer.json(401, {"error": {"message": SECRET}})) as server:
        model = f"openai:m@{server.url}/v1"
        assert main(["propose", *VIEWS, "--model", model, "--strategy", "all", "-n", "2", "--json"]) == 1
    output = capsys.readouterr()
    assert {candidate["strategy"] for candidate in json.loads(output.out)["candidates"]} == {"single"}
    assert output.err.startswith("evenhand: cot: ")
    assert output.err.count("\n") == 1
    assert SECRET not in log()


def test_a_failure_is_a_sentence_on_screen_and_a_traceback_in_the_log(capsys, log, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    with scripted_server(lambda answer: answer.json(401, {"error": {"message": "bad key sk-secret-key"}})) as server:
        arguments = ["propose", "--view-a", SECRET, "--view-b", "b", "--model", f"openai:m@{server.url}/v1", "--json"]
        assert main(arguments) == 1
        assert server.requests[0].headers["authorization"] == "Bearer sk-secret-key"
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "sk-secret-key" not in output.err + log()
    assert SECRET not in log()
    assert "AuthenticationFailed" in log()
    assert "propose_command" in log()


def test_a_fault_of_ours_names_the_log_and_shows_no_traceback(capsys, log, monkeypatch):
    def broken() -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("mediator.models.catalogue", broken)
    assert main(["models", "list"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("evenhand: Something went wrong inside Evenhand (KeyError). The details are in ")
    assert errors.count("\n") == 1
    assert "in broken" in log()
    assert SECRET not in log()
