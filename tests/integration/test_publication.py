"""Publishing: under load, with many readers, stuck readers, late ones, none; nothing wrong is ever
answered and nothing half-built is ever served."""
import os
import signal
import subprocess

import pytest
from instance import is_running, wait_until
from load import VERSIONS, Load, versioned
from tern import Action, Op, Status, StatusError


def test_publishes_under_load(make_instance):
    """Every answer is checked against the generation that its reply names."""
    instance = versioned(make_instance).start()
    with Load(instance, connections=4) as load:
        load.version_of[instance.generation()] = 0
        for i in range(1, 60):
            load.publish(i % VERSIONS)
        load.await_answers(2000)
    assert load.problems == []
    assert load.answers > 2000
    assert len(load.generations_seen) > 20
    assert instance.stats()["adoptions"] >= 20


def test_memory_does_not_grow_with_publishes(make_instance):
    instance = versioned(make_instance, keys=20000).start()
    used = []
    for i in range(40):
        instance.apply(instance.versions[i % VERSIONS])
        if i % 10 == 9:
            wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0,
                       "everything retired is given back")
            used.append(instance.status()["arena"]["used_bytes"])
    assert max(used) <= min(used) * 1.2
    arena = (instance.run_dir / "arena").resolve()
    assert os.stat(arena).st_blocks * 512 < 32 << 20, "holes are punched"


def test_not_ready_is_held(race_instance):
    """The first publish is held right before its swap: all but PING are refused, then served."""
    race_instance.hold("publish-swapping")
    race_instance.launch()
    race_instance.await_held("publish-swapping")

    def connected():
        try:
            return race_instance.client()
        except Exception: # ternd is still starting
            return None
    client = wait_until(connected, "ternd listens")
    client.ping()
    for op, body in ((Op.DECIDE, b"\1\0\0\0"), (Op.HELLO, b"\1\0\0\0"), (Op.LOOKUP, b"\1\0\0\0"),
                     (Op.DESCRIBE, b"")):
        with pytest.raises(StatusError) as refused:
            client.collect(client.send_frame(op, body))
        assert refused.value.status == Status.NOT_READY
    race_instance.release("publish-swapping")
    race_instance.await_ready()
    assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY


def seats(instance):
    return {seat["pid"]: seat for seat in instance.status()["seats"]}


def test_two_ternds_on_one_arena(make_instance):
    """A second data plane joins late, prepares before it serves, and is acknowledged with the first."""
    instance = versioned(make_instance).start()
    first = instance.ternd_pid()
    second = instance.start_process("ternd")
    wait_until(lambda: second.pid in seats(instance) and
               seats(instance)[second.pid]["generation"] == instance.generation(),
               "the second has caught up")
    with Load(instance, connections=4) as load:
        load.version_of[instance.generation()] = 0
        for i in range(1, 25):
            told = load.publish(i % VERSIONS)
            assert {seat["pid"]: seat["answer"] for seat in told["seats"]} == {
                first: "ready", second.pid: "ready"}
        load.await_answers(500)
    assert load.problems == []
    wait_until(lambda: all(seat["generation"] == instance.generation()
                           for seat in seats(instance).values()), "both serve the newest")
    second.terminate()
    assert second.wait(10) == 0
    wait_until(lambda: list(seats(instance)) == [first], "the seat is free again")
    third = instance.start_process("ternd")
    wait_until(lambda: third.pid in seats(instance), "the seat is used again")


def test_a_stuck_reader_is_named_and_stops_nobody(make_instance):
    instance = versioned(make_instance, keys=20000).start()
    client = instance.client()  # of the first, before there is a choice
    client.ping()
    stuck = instance.start_process("ternd")
    wait_until(lambda: stuck.pid in seats(instance), "joined")
    wait_until(lambda: seats(instance)[stuck.pid]["generation"] == instance.generation(), "serves")
    stuck.send_signal(signal.SIGSTOP)
    try:
        told = instance.apply(instance.versions[1], check=4)
        answers = {seat["pid"]: seat["answer"] for seat in told["seats"]}
        assert told["published"] and not told["acknowledged"]
        assert answers[stuck.pid] not in ("ready", "rejected")
        wait_until(lambda: seats(instance)[stuck.pid]["stuck"], "named as stuck", 15)
        assert seats(instance)[stuck.pid]["quarantined_bytes"] > 0
        text = instance.ctl("status", check=0).stdout
        assert str(stuck.pid) in text and "STUCK" in text
        wait_until(lambda: client.decide({"user": 1}).generation == told["generation"],
                   "the other serves it")
    finally:
        stuck.send_signal(signal.SIGCONT)
    wait_until(lambda: not seats(instance)[stuck.pid]["stuck"] and
               seats(instance)[stuck.pid]["generation"] == instance.generation(), "it catches up")
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "and lets go")


def test_a_killed_stuck_reader_lets_go_of_its_memory(make_instance):
    instance = versioned(make_instance, keys=20000).start()
    stuck = instance.start_process("ternd")
    wait_until(lambda: stuck.pid in seats(instance), "joined")
    stuck.send_signal(signal.SIGSTOP)
    instance.apply(instance.versions[1], check=4)
    stuck.kill()
    stuck.wait()
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "given back")
    assert instance.apply(instance.versions[2])["acknowledged"]


def test_publishing_without_any_ternd_is_flagged(make_instance):
    instance = versioned(make_instance).start()
    os.kill(instance.supervisor.pid, signal.SIGSTOP) # nobody restarts it meanwhile
    try:
        os.kill(instance.ternd_pid(), signal.SIGKILL)
        wait_until(lambda: not seats(instance), "it is gone")
        told = instance.apply(instance.versions[1], check=4)
        assert told["published"] and not told["acknowledged"] and told["seats"] == []
    finally:
        os.kill(instance.supervisor.pid, signal.SIGCONT)
    client = wait_until(lambda: instance.answers() and instance.client(), "served again")
    assert client.decide({"user": 1}).generation == told["generation"]


def test_a_corrupt_section_is_rejected_and_the_old_generation_serves(race_instance):
    """A byte of the candidate flips between its verification and its announcement."""
    race_instance.start()
    before = race_instance.generation()
    arena = (race_instance.run_dir / "arena").resolve()
    marker = b"marker-of-the-corrupt-section"
    race_instance.write_source("tokens.txt", "alpha\n")
    text = race_instance.config_path.read_text()
    race_instance.config_path.write_text(text.replace("id: flagged", f"id: {marker.decode()}"))
    race_instance.hold("publish-written")
    applying = subprocess.Popen([str(race_instance.binaries / "ternctl"), "apply",
                                 str(race_instance.config_path), "--run-dir",
                                 str(race_instance.run_dir)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    race_instance.await_held("publish-written")
    at = find_in(arena, marker)
    with open(arena, "r+b") as file:
        file.seek(at)
        file.write(b"X")
    race_instance.release("publish-written")
    out, error = applying.communicate(timeout=30)
    assert applying.returncode == 1, out + error
    assert "checksum" in out + error
    assert str(race_instance.ternd_pid()) in out + error
    assert race_instance.generation() == before
    assert race_instance.client().decide({"flag": True}).action is Action.DENY
    row = race_instance.history()[0]
    assert row["state"] == "failed" and "checksum" in row["reason"]
    assert race_instance.apply()["acknowledged"], "what is not corrupt goes through"


def find_in(path, marker):
    """The offset of a text in a sparse file."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found = os.pread(file.fileno(), hole - start, start).find(marker)
            if found >= 0:
                return start + found
            at = hole
    raise AssertionError(f"{marker!r} is not in {path}")


def test_a_candidate_waits_for_nobody_while_it_is_announced(race_instance):
    """Requests are answered from the old generation however long an announcement takes."""
    race_instance.start()
    client = race_instance.client()
    race_instance.hold("publish-announced")
    applying = subprocess.Popen([str(race_instance.binaries / "ternctl"), "apply",
                                 str(race_instance.config_path), "--run-dir",
                                 str(race_instance.run_dir)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    race_instance.await_held("publish-announced")
    for _ in range(200):
        assert client.decide({"ip": "192.0.2.1"}).generation == 1
    race_instance.release("publish-announced")
    assert applying.wait(30) == 0
    wait_until(lambda: client.decide({"ip": "192.0.2.1"}).generation == 2, "then from the new one")


def test_many_publishes_before_a_slow_joiner_has_prepared(make_instance):
    instance = versioned(make_instance).start()
    joiners = [instance.start_process("ternd") for _ in range(3)]
    for i in range(10):
        instance.apply(instance.versions[i % VERSIONS], check=None)
    wait_until(lambda: len(seats(instance)) == 4 and
               all(seat["generation"] == instance.generation()
                   for seat in seats(instance).values()), "all serve the newest")
    assert all(is_running(joiner.pid) for joiner in joiners)
