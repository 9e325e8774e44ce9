"""Firmware of the hand-made model, built once per test run and target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import handmade
import pytest

from mcutrain import simulators
from mcutrain.device.session import Session
from mcutrain.device.transport import Transport
from mcutrain.targets import find_target

#: Targets that run the same tests.
SIMULATED = [
    "native",
    pytest.param("qemu", marks=pytest.mark.qemu),
    pytest.param("qemu-uart", marks=pytest.mark.qemu),
]


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the firmware for a target's name."""
    folder = tmp_path_factory.mktemp("firmware")
    built: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in built:
            built[name] = handmade.build(name, folder / name)
        return built[name]

    return get


@pytest.fixture
def link(
    firmware: Callable[[str], Path], request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Transport]]:
    """Starts a target's simulator; all end with the test."""
    started: list[Transport] = []

    def start(name: str) -> Transport:
        transport = simulators.start(find_target(name), firmware(name))
        started.append(transport)
        return transport

    yield start
    for transport in started:
        transport.close()


@pytest.fixture
def native(link: Callable[[str], Transport]) -> Iterator[Session]:
    """A session with the native firmware."""
    with Session(link("native"), handmade.manifest()) as session:
        yield session


@pytest.fixture(params=SIMULATED)
def session(request: pytest.FixtureRequest, link: Callable[[str], Transport]) -> Iterator[Session]:
    """A session with each simulated target in turn."""
    with Session(link(request.param), handmade.manifest()) as session:
        yield session
