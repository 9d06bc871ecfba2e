"""kill -9 of either process at any instant: the other keeps working, what died is started again,
nothing wrong and nothing half-built is ever answered."""
import json
import os
import random
import signal
import time

import pytest
from instance import is_running, wait_until
from load import VERSIONS, Load, versioned
from tern import ConnectionClosed, Unreachable


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    wait_until(lambda: not is_running(pid), f"{pid} is gone")


def newest_versions(load, instance):
    """Which version each generation of the history was built from, also of publishes whose answer got
    lost with the process that owed it."""
    for row in instance.history():
        if row["generation"] and row["state"] in ("live", "publishing", "superseded", "retired"):
            path = row["config"]
            for version, known in enumerate(instance.versions):
                if path == str(known):
                    load.version_of.setdefault(row["generation"], version)


def test_ternd_is_back_at_once(make_instance):
    instance = versioned(make_instance).start()
    generation, took_s = instance.generation(), []
    for _ in range(5):
        pid = instance.ternd_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "dead")
        began = time.monotonic()
        wait_until(instance.answers, "answers again")
        took_s.append(time.monotonic() - began)
        assert instance.client().decide({"user": 1}).generation == generation
        wait_until(lambda: (instance.try_status() or {}).get("dataplane", {}).get("pid")
                   not in (None, pid), "a new one in status")
    assert min(took_s) < 2.0, took_s  # the best of five: a busy machine is slow now and then


def test_random_kills_of_ternd_under_load(make_instance):
    instance = versioned(make_instance).start()
    generator = random.Random(1)
    with Load(instance, connections=3, interruptions=True) as load:
        load.version_of[instance.generation()] = 0
        for i in range(1, 16):
            publishing = load.publish_in_the_background(i % VERSIONS)
            load._end.wait(generator.random() * 0.02)
            pid = instance.ternd_pid()
            if pid:
                kill(pid)
            out, error = publishing.communicate(timeout=60)
            assert publishing.returncode in (0, 4), error
            load.version_of[json.loads(out)["generation"]] = i % VERSIONS
            load.await_answers(50)
    assert load.problems == []
    assert load.lost > 0, "the kills were noticed"


def test_random_kills_of_the_control_plane_under_load(make_instance):
    """Nobody who asks notices; what was being published is either there or not."""
    instance = versioned(make_instance).start()
    generator = random.Random(2)
    ternd = instance.ternd_pid()
    with Load(instance, connections=3) as load:
        load.version_of[instance.generation()] = 0
        for i in range(1, 16):
            pid = instance.control_pid()
            publishing = load.publish_in_the_background(i % VERSIONS)
            load._end.wait(generator.random() * 0.03)
            kill(pid)
            out, _ = publishing.communicate(timeout=60)
            if publishing.returncode in (0, 4):
                load.version_of[json.loads(out)["generation"]] = i % VERSIONS
            instance.await_control(pid)
            newest_versions(load, instance)
            load.await_answers(50)
        told = load.publish(1)
        load.await_answers(50)
    assert load.problems == []
    assert instance.ternd_pid() == ternd
    assert told["acknowledged"]
    numbers = [row["generation"] for row in instance.history() if row["generation"]]
    assert len(numbers) == len(set(numbers)), "no number is used twice"


CONTROL_POINTS = ["publish-built", "publish-written", "publish-announced", "publish-swapping",
                  "publish-swapped", "reclaim-collecting"]


@pytest.mark.parametrize("point", CONTROL_POINTS)
def test_the_control_plane_dies_at_each_step(make_instance, race_instance, point):
    """Killed there, started again, publishing goes on; answers are right throughout."""
    instance = versioned(lambda **options: prepared(race_instance, options)).start()
    ternd, control = instance.ternd_pid(), instance.control_pid()
    with Load(instance, connections=2) as load:
        load.version_of[instance.generation()] = 0
        load.publish(1)
        instance.kill_at(point)
        publishing = load.publish_in_the_background(2)
        instance.await_killed(point)
        publishing.communicate(timeout=60)
        instance.await_control(control)
        newest_versions(load, instance)
        load.await_answers(50)
        for version in (3, 0, 1):
            assert load.publish(version)["acknowledged"]
        load.await_answers(50)
    assert load.problems == []
    assert instance.ternd_pid() == ternd
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "all is given back")


@pytest.mark.parametrize("point", ["publish-written", "publish-announced", "publish-swapping",
                                   "publish-swapped"])
def test_ternd_dies_at_each_step_of_a_publish(race_instance, point):
    instance = versioned(lambda **options: prepared(race_instance, options)).start()
    with Load(instance, connections=2, interruptions=True) as load:
        load.version_of[instance.generation()] = 0
        instance.hold(point)
        publishing = load.publish_in_the_background(1)
        instance.await_held(point)
        os.kill(instance.ternd_pid(), signal.SIGKILL)
        wait_until(lambda: instance.answers(), "served meanwhile", 15)
        instance.release(point)
        out, error = publishing.communicate(timeout=60)
        assert publishing.returncode in (0, 4), error
        load.version_of[json.loads(out)["generation"]] = 1
        wait_until(lambda: instance.client().decide({"user": 1}).generation ==
                   json.loads(out)["generation"], "the new one is served")
        load.await_answers(50)
    assert load.problems == []


def prepared(race_instance, options):
    """The race instance with another configuration: it has not been started yet."""
    race_instance.config = options.pop("config")
    race_instance.options.update(options)
    race_instance.write_config()
    return race_instance


def test_both_die_at_once(make_instance):
    instance = versioned(make_instance).start()
    instance.apply(instance.versions[2])
    generation = instance.generation()
    status = instance.status()
    for plane in ("dataplane", "controlplane"):
        os.kill(status[plane]["pid"], signal.SIGKILL)
    wait_until(instance.answers, "answers again")
    assert instance.client().decide({"user": 1}).generation >= generation
    after = wait_until(instance.try_status, "status again")
    assert after["generation"] >= generation


def test_the_supervisor_dies(make_instance):
    """kill -9 of `ternctl up` takes its children along, and the next one takes the arena over."""
    instance = versioned(make_instance).start()
    status = instance.status()
    instance.apply(instance.versions[1])
    instance.supervisor.kill()
    instance.supervisor.wait()
    for plane in ("dataplane", "controlplane"):
        wait_until(lambda: not is_running(status[plane]["pid"]), f"{plane} ended")
    instance.start(instance.versions[1])
    assert instance.generation() > status["generation"]


def test_a_dead_control_plane_is_not_missed(make_instance):
    """With tern-control gone for good, ternd serves, and a new ternd still comes up."""
    instance = versioned(make_instance).start()
    generation = instance.generation()
    os.kill(instance.supervisor.pid, signal.SIGSTOP)
    try:
        kill(instance.control_pid())
        client = instance.client()
        for key in range(100):
            assert client.decide({"user": key}).generation == generation
        os.kill(int(json.loads(instance.ctl("status", "--json").stdout)["dataplane"]["pid"]),
                signal.SIGKILL)

        def refused():
            try:
                instance.client().ping()
            except (ConnectionClosed, Unreachable):
                return True
            return False
        wait_until(refused, "ternd is gone as well")
        instance.start_process("ternd")
        wait_until(instance.answers, "a ternd without a control plane serves")
        assert instance.client().decide({"user": 1}).generation == generation
    finally:
        os.kill(instance.supervisor.pid, signal.SIGCONT)
