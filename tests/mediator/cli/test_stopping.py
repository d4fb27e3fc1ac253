"""Ctrl-C: the first stops the work and keeps what is finished, the second ends the program."""

import json
import signal
import subprocess

import pytest
from support.command_line import QUICK, TWO, VIEWS, needs_terminals, start_on_terminal
from support.messages_server import Answer, answering, scripted_server
from support.patience import PATIENCE


@needs_terminals
def test_ctrl_c_stops_the_writer_and_prints_what_is_finished():
    with scripted_server(answering(*TWO, then=Answer.stall)) as server:
        process, screen = start_on_terminal("propose", *VIEWS, "--model", f"openai:m@{server.url}/v1", *QUICK, "--json")
        screen.wait_for("A fenced meadow")  # the second is being written, so the first is finished
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert server.closed_by_client.wait(PATIENCE)
    assert process.returncode == 130
    texts = [candidate["text"] for candidate in json.loads(output)["candidates"]]
    assert texts[0] == "Dogs may run free before nine, and walk on a leash after that."
    screen.wait_for("evenhand: Stopped; this is what was finished.")


@needs_terminals
def test_a_second_ctrl_c_ends_a_program_that_does_not_stop():
    # A process that is not scheduled to answer: its writer is waited for, and nothing tells it to stop.
    program = (
        "import threading, mediator.cli as cli\n"
        "from mediator.cancellation import Cancellation\n"
        "def never():\n"
        "    cli.say('waiting')\n"
        "    threading.Event().wait()\n"
        "    yield\n"
        "cancel = Cancellation()\n"
        "with cli.cancelled_by_interrupt(cancel):\n"
        "    list(cli._in_background(never(), cancel))\n"
    )
    process, screen = start_on_terminal(program=["-c", program])
    screen.wait_for("waiting")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    screen.wait_for("Stopped at once.")
