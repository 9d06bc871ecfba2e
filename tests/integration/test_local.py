"""Programs that decide in their own process (libtern-local): the example program, spoken to a line at a
time, beside a real instance whose processes die, publish and are stopped."""
import contextlib
import os
import signal
import subprocess

import pytest

from instance import BUILD, wait_until
from tern import Action, EncodeError, Unreachable
from tern.local import Local

PROGRAM = BUILD / "clients" / "c" / "examples" / "local"
LIBRARY = str(BUILD / "clients" / "c" / "local" / "libtern-local.so")


class Reader:
    def __init__(self, instance, program=PROGRAM):
        self.process = subprocess.Popen([str(program), str(instance.run_dir)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)

    @property
    def pid(self):
        return self.process.pid

    def ask(self, line):
        """The words of the answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def generation(self):
        return int(self.ask("ip=192.0.2.1")[2])

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait()
        self.close()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start_reader():
    readers = []

    def start(instance):
        readers.append(Reader(instance))
        return readers[-1]

    yield start
    for reader in readers:
        if reader.process.poll() is None:
            reader.process.send_signal(signal.SIGCONT)
        if not reader.process.stdout.closed:
            reader.close()


def readers_of(instance):
    return instance.ctl_json("readers")["pages"]


def publish(instance, marker):
    """Another generation, told apart by the id of its last rule; its number."""
    rules = instance.options["rules"].replace("id: flagged", f"id: {marker}")
    instance.write_config(rules=rules)
    return instance.ctl_json("apply", instance.config_path)["generation"]


def test_it_decides_as_the_server_does(instance, start_reader):
    reader = start_reader(instance)
    client = instance.client()
    names = {"ip": "10.0.0.1", "host": "www.BAD.example.", "path": "/login/x.php", "user": 2,
             "level": -7, "ratio": 0.75, "flag": True}
    requests = [{name: names[name] for bit, name in enumerate(names) if mask >> bit & 1}
                for mask in range(1, 128)]
    requests += [{"ip": ip} for ip in ("192.0.2.9", "203.0.113.200", "::ffff:192.0.2.9", "2001:db8:bad::1")]
    shown = {row.index: row.name for row in client.describe().rules}
    for request in requests:
        expected = client.decide(request)
        line = " ".join(f"{name}={str(value).lower()}" for name, value in request.items())
        action, rule, _ = reader.ask(line)
        assert action == expected.action.name.lower(), request
        assert rule == shown.get(expected.rule, "default"), request
    assert reader.ask("ip=nonsense")[0] == "error"
    assert reader.ask("nothing=1")[0] == "error"
    seen = readers_of(instance)
    assert [page["pid"] for page in seen] == [reader.pid]
    assert seen[0]["name"] == "example"
    assert seen[0]["contexts"][0]["decisions"] == len(requests)
    assert "example" in instance.ctl("readers").stdout
    assert str(reader.pid) in instance.ctl("status").stdout


def test_it_follows_what_is_published(instance, start_reader):
    reader = start_reader(instance)
    first = reader.generation()
    for marker in ("one", "two", "three"):
        generation = publish(instance, marker)
        assert generation > first
        assert reader.ask("flag=true") == ["deny", marker, str(generation)]
    # what it has left is free again
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "nothing quarantined")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_its_death_leaves_nothing(instance, start_reader, number):
    reader = start_reader(instance)
    held = reader.generation()
    reader.kill(number)
    assert readers_of(instance) == []
    assert instance.status()["readers"] == []
    assert publish(instance, "after") == held + 1
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "nothing quarantined")
    again = start_reader(instance)
    assert again.generation() == held + 1
    assert [page["page"] for page in readers_of(instance)] == [0]


def test_it_needs_neither_process(instance, start_reader):
    reader = start_reader(instance)
    pids = [instance.status()[plane]["pid"] for plane in ("controlplane", "dataplane")]
    instance.supervisor.send_signal(signal.SIGSTOP)  # or it would start others
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert reader.ask("ip=192.0.2.1")[:2] == ["deny", "bad-net"]
        late = start_reader(instance)
        assert late.ask("ip=192.0.2.1")[:2] == ["deny", "bad-net"]
    finally:
        instance.supervisor.send_signal(signal.SIGCONT)
    # the next tern-control takes over what the readers hold, and publishes
    status = wait_until(instance.try_status, "tern-control is back")
    assert sorted(row["pid"] for row in status["readers"]) == sorted([reader.pid, late.pid])
    generation = publish(instance, "again")
    assert reader.generation() == late.generation() == generation


def test_a_stopped_reader_is_named_and_stops_nobody(instance, start_reader):
    stopped, other = start_reader(instance), start_reader(instance)
    held = stopped.generation()
    stopped.process.send_signal(signal.SIGSTOP)
    for marker in ("one", "two", "three"):
        generation = publish(instance, marker)
        assert other.generation() == generation
        assert instance.client().decide({"flag": True}).action is Action.DENY

    def named():
        rows = {row["pid"]: row for row in instance.status()["readers"]}
        return rows[stopped.pid]["stuck"] and rows
    rows = wait_until(named, "the stopped reader is named")
    assert rows[stopped.pid]["generation"] == held
    assert rows[stopped.pid]["quarantined_bytes"] > 0
    assert not rows[other.pid]["stuck"]
    def keeps_what_it_holds():
        status = instance.status()
        held_bytes = next(row["quarantined_bytes"] for row in status["readers"] if row["pid"] == stopped.pid)
        return status["arena"]["quarantined_bytes"] == held_bytes > 0
    wait_until(keeps_what_it_holds, "only that is kept, not all that was published since")
    assert "STUCK" in instance.ctl("status").stdout

    stopped.process.send_signal(signal.SIGCONT)
    assert stopped.generation() == generation
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "nothing quarantined")


def test_pages_run_out(instance, start_reader):
    readers = [start_reader(instance) for _ in range(64)]
    for reader in readers:
        assert reader.ask("ip=192.0.2.1")[0] == "deny"
    late = start_reader(instance)
    assert late.process.wait() == 1
    assert "all 64 pages" in late.process.stderr.read()
    readers[10].kill()
    assert start_reader(instance).ask("ip=192.0.2.1")[0] == "deny"


def test_without_an_instance(make_instance):
    reader = Reader(make_instance())
    assert reader.process.wait() == 1
    assert "arena" in reader.process.stderr.read()
    reader.close()


def test_from_python(instance):
    client = instance.client()
    requests = [{"ip": "192.0.2.9"}, {"ip": "203.0.113.200", "user": 3}, {"host": "x.BAD.example", "level": -9},
                {"path": "/../x.php"}, {"flag": True, "ratio": 0.25}, {"ip": "10.1.2.3"}, {}]
    with Local(instance.run_dir, library=LIBRARY) as local:
        assert local.decide(requests) == client.decide(requests)
        assert local.rule(local.decide(requests[0]).rule).name == "bad-net"
        assert [page["name"] for page in readers_of(instance)] == ["python"]
        generation = publish(instance, "again")
        verdict = local.decide({"flag": True})
        assert (verdict.generation, local.generation) == (generation, generation)
        assert local.rule(verdict.rule).name == "again"
        for wrong in ({"nothing": 1}, {"user": "x"}, {"ip": "x"}, {"user": -1}):
            with pytest.raises(EncodeError):
                local.decide(wrong)
        with pytest.raises(KeyError):
            local.rule(99)
        local.rest()
        assert local.generation == 0
    assert readers_of(instance) == []
    local.close()
    with pytest.raises(Unreachable):
        Local("/nowhere/at/all", library=LIBRARY)
