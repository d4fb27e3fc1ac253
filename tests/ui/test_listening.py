"""ui/listening.py: where the app can listen, and what is said when it cannot."""

import asyncio
import socket

import pytest

from mediator.errors import InputError
from ui.listening import FIRST_PORT, PORTS, Place, allowed_name, find_place, listen


@pytest.mark.parametrize(
    ("host", "address", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LocalHost", "127.0.0.1", True),
        ("127.8.9.10", "127.8.9.10", True),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("::", "::", False),
        ("192.168.1.5", "192.168.1.5", False),
        ("::ffff:192.168.1.5", "::ffff:c0a8:105", False),
    ],
)
def test_only_loopback_is_this_computer_alone(host, address, loopback):
    place = find_place(host)
    assert (place.address, place.loopback) == (address, loopback)


@pytest.mark.parametrize("host", ["", " ", "no-such-computer.invalid", "x" * 300, "a b", "http://127.0.0.1", "ü" * 70])
def test_what_is_no_computer_is_a_sentence(host):
    with pytest.raises(InputError, match="no computer is known by it"):
        find_place(host)


def test_the_address_of_the_page():
    assert Place("localhost", "127.0.0.1").url(7860, False) == "http://127.0.0.1:7860/"
    assert Place("::1", "::1").url(7860, True) == "https://[::1]:7860/"
    assert Place("0.0.0.0", "0.0.0.0").url(80, False) == "http://127.0.0.1:80/"
    assert Place("::", "::").url(80, False) == "http://[::1]:80/"
    assert Place("desk.example", "192.0.2.9").url(80, True) == "https://desk.example:80/"


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_a_sentence(port):
    with pytest.raises(InputError, match="1 to 65535"):
        listen(find_place("127.0.0.1"), port)


def test_a_taken_port_is_a_sentence_and_another_one_is_found():
    with listen(find_place("127.0.0.1"), None) as first:
        taken = first.getsockname()[1]
        assert FIRST_PORT <= taken < FIRST_PORT + PORTS
        with pytest.raises(InputError, match=f"Port {taken} is taken"):
            listen(find_place("127.0.0.1"), taken)
        with listen(find_place("127.0.0.1"), None) as second:
            assert second.getsockname()[1] > taken


def test_an_address_of_another_computer_is_a_sentence():
    with pytest.raises(InputError, match="not an address of this computer"):
        listen(find_place("198.51.100.7"), 8080)


def test_loopback_of_ipv6_is_served():
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    with listen(find_place("::1"), None) as listener:
        assert listener.getsockname()[0] == "::1"


def test_small_answers_are_sent_at_once():
    async def answered() -> int:
        held: list[int] = []

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen(find_place("127.0.0.1"), None) as listener:
            async with await asyncio.start_server(answer, sock=listener):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                await reader.read()
                writer.close()
        return held[0]

    assert asyncio.run(answered()) == 1


@pytest.mark.parametrize(
    ("given", "name"),
    [("Mediation.Example", "mediation.example"), ("desk.", "desk"), ("::5", "::5"), ("[fd00::0:5]", "fd00::5")],
)
def test_a_name_is_allowed_as_it_is_compared(given, name):
    assert allowed_name(given) == name


@pytest.mark.parametrize("given", ["", "*", "https://x.example", "x.example:443", "x/y", "a b", "[::1]:80"])
def test_what_is_no_name_cannot_be_allowed(given):
    with pytest.raises(InputError, match="--allow-host"):
        allowed_name(given)
