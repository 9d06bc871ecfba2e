"""Fixtures: real processes on free ports in directories of their own, stopped when the test ends."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "clients" / "python"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from instance import BUILD, RACE_BUILD, Instance  # noqa: E402


def pytest_report_header(config):
    return f"binaries: {BUILD} (race points: {RACE_BUILD})"


@pytest.fixture
def make_instance():
    """A factory; every instance it made is stopped and must have stopped cleanly."""
    made = []

    def make(**options):
        instance = Instance(**options)
        made.append(instance)
        return instance

    yield make
    problems = []
    for instance in reversed(made):
        problems += instance.dispose()
    assert not problems, problems


@pytest.fixture
def instance(make_instance):
    """One running instance of the configuration that instance.py describes."""
    return make_instance().start()


@pytest.fixture(scope="module", params=["io_uring", "epoll"])
def shared_instance(request):
    """One for a whole file of tests that leave it as they found it, once with each backend."""
    instance = Instance(backend=request.param)
    try:
        instance.start()
        used = instance.status()["dataplane"]["backend"]
        if used != request.param:
            reason = instance.status()["dataplane"]["backend_reason"]
            pytest.skip(f"this machine has no {request.param}: {reason}")
        yield instance
    finally:
        problems = instance.dispose()
    assert not problems, problems


@pytest.fixture(scope="module")
def served():
    """One for a whole file, with whatever backend it chooses."""
    instance = Instance()
    try:
        instance.start()
        yield instance
    finally:
        problems = instance.dispose()
    assert not problems, problems


@pytest.fixture
def race_instance(make_instance):
    """Built with race points: tests hold or kill its processes where they name it."""
    if not (RACE_BUILD / "ternctl").exists():
        pytest.skip(f"{RACE_BUILD} is not built")
    return make_instance(binaries=RACE_BUILD, races=True)


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")
