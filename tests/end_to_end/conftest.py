"""The two ways of serving that the attacks are tried on."""

from collections.abc import Iterator

import pytest

from tests.support.served import Served, password_file, serving


@pytest.fixture(scope="package")
def app() -> Iterator[Served]:
    """As it is started by default: this computer only, no password."""
    with serving() as served:
        yield served


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For other computers too, with a password."""
    file = password_file(tmp_path_factory.mktemp("password"))
    with serving("--host", "0.0.0.0", "--password-file", str(file), "--allow-host", "mediation.example") as served:
        yield served
