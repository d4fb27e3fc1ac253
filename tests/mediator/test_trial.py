"""Trying a writer: an answer and its speed, or one sentence on what is wrong; stopped at once."""

from contextlib import closing

import pytest
from support.messages_server import Answer, scripted_server
from support.patience import PATIENCE
from support.tiny_models import FOUR_COMPROMISES, tiny_llama_gguf

from mediator.cancellation import Cancellation, Cancelled
from mediator.models import load_writer
from mediator.trial import Outcome, try_writer


def tried(name: str, scorer=None, cancel: Cancellation | None = None) -> Outcome:
    return try_writer(lambda: closing(load_writer(name, scorer)), cancel or Cancellation())


def test_a_model_file_says_its_first_words_and_its_speed(tmp_path):
    path = tiny_llama_gguf(tmp_path / "tiny.gguf", recital=FOUR_COMPROMISES, width=256, layers=8)
    outcome = tried(f"gguf:{path}")
    assert outcome.works
    assert outcome.text.startswith("1. Open the park until nine")
    assert outcome.first_after > 0
    assert outcome.problem == ""
    speechless = tiny_llama_gguf(tmp_path / "speechless.gguf", recital=(" ",))
    assert tried(f"gguf:{speechless}").problem.startswith("The writer answered with nothing.")


def test_the_drafter_works(scorer):
    outcome = tried("drafter", scorer)
    assert outcome.works
    assert len(outcome.text) > 40


def test_what_is_wrong_is_a_sentence(tmp_path, monkeypatch):
    assert "There is no file" in tried(f"gguf:{tmp_path / 'none.gguf'}").problem
    assert "There is no key for Claude." in tried("claude").problem
    assert "127.0.0.1:9 cannot be reached." in tried("openai:m@http://127.0.0.1:9/v1").problem
    assert "There is no model 'nonsense'" in tried("nonsense").problem
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")

    def refused(answer) -> None:
        answer.json(401, {"error": {"message": "bad key sk-secret-of-mine", "code": None, "type": "x"}})

    with scripted_server(refused) as server:
        outcome = tried(f"openai:m@{server.url}/v1")
    assert not outcome.works
    assert "refused the key (bad key [OPENAI_API_KEY])" in outcome.problem


def test_a_trial_is_stopped_while_the_server_holds_its_answer_back():
    cancel = Cancellation()

    def holds_back(answer: Answer) -> None:
        cancel.cancel()
        answer.hold_back()

    with scripted_server(holds_back) as server:
        with pytest.raises(Cancelled):
            tried(f"openai:m@{server.url}/v1", cancel=cancel)
        assert server.closed_by_client.wait(PATIENCE), "it waited until the server gave up"
