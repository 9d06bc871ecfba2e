"""The decision log: what is written, what is not and why, through restarts of everybody."""
import json
import os
import shutil
import signal
import subprocess

import pytest
from instance import CONFIG, wait_until
from tern import Action

LOGGED = CONFIG + "decision_log: {log}\n"
EVERYTHING = "{{ sample: 100% }}".format()
TRACE = bytes(range(1, 17)) + bytes(range(17, 25)) + bytes([1])


def make(make_instance, log=EVERYTHING, **options):
    return make_instance(config=LOGGED, log=log, **options)


def files(instance):
    return sorted((instance.state_dir / "decisions").glob("decisions-*.jsonl"))


def lines(instance):
    """Every line that is whole; the last one may be on its way."""
    text = "".join(file.read_text() for file in files(instance))
    return [json.loads(line) for line in text.split("\n")[:-1]]


def await_lines(instance, count):
    wait_until(lambda: len(lines(instance)) >= count, f"{count} lines")
    return lines(instance)


def log_status(instance):
    return instance.status()["decision_log"]


def test_a_decision_becomes_a_line(make_instance):
    instance = make(make_instance).start()
    client = instance.client()
    client.decide({"ip": "192.0.2.1", 0: 2**64 - 1}, trace=TRACE)
    client.decide([{"ip": "10.0.0.1"}, {"path": "/../a.php"}, {"level": -7}])
    client.decide([{"ip": "192.0.2.1"}] * 100, trace=TRACE)
    found = await_lines(instance, 104)
    assert len(found) == 104
    first = found[0]
    assert first["time"].endswith("Z") and len(first["time"]) == 27
    wanted = {"action": "deny", "rule": "bad-net", "score": 1, "cause": "rule", "generation": 1,
              "key": str(2**64 - 1), "item": 0, "tier": 1, "seat": 0, "loop": 0,
              "trace": f"00-{TRACE[:16].hex()}-{TRACE[16:24].hex()}-01"}
    assert {name: first[name] for name in wanted} == wanted
    assert [(line["action"], line["rule"], line["cause"], line["score"], line["item"])
            for line in found[1:4]] == [("allow", "own-net", "rule", 0, 0),
                                        ("deny", None, "threshold", 8, 1),
                                        ("challenge", "level", "rule", 0, 2)]
    assert "trace" not in found[1]
    assert [line["item"] for line in found[4:]] == list(range(100))
    assert {line["trace"] for line in found[4:]} == {wanted["trace"]}
    status = wait_until(lambda: log_status(instance)["written"] >= 104 and log_status(instance), "counted")
    assert (status["on"], status["written"], status["lost"], status["failed"]) == (True, 104, 0, 0)
    mode = files(instance)[0].stat().st_mode & 0o777
    assert mode == 0o640
    assert files(instance)[0].parent.stat().st_mode & 0o777 == 0o750


def test_off_unless_asked_for(instance):
    instance.client().decide({"ip": "192.0.2.1"})
    assert log_status(instance)["on"] is False
    assert not files(instance)
    assert instance.ctl("log").returncode == 1


def test_always_and_the_sample(make_instance):
    instance = make(make_instance, log="{{ always: [ deny, challenge ], sample: 20% }}".format()).start()
    client = instance.client()
    denied = [{"ip": "192.0.2.1", 0: key} for key in range(1, 301)]
    allowed = [{"ip": "10.0.0.1", 0: key} for key in range(1, 2001)]
    client.decide(denied)
    client.decide(allowed)
    client.decide(allowed)
    client.decide([{"level": -7}] * 10)
    wait_until(lambda: sum(log_status(instance)[n] for n in ("written", "skipped")) == 4310, "read")
    found = await_lines(instance, log_status(instance)["written"])
    by_action = {name: [line["key"] for line in found if line["action"] == name]
                 for name in ("allow", "deny", "challenge")}
    assert sorted(map(int, by_action["deny"])) == list(range(1, 301))
    assert len(by_action["challenge"]) == 10
    # The same keys both times, and about a fifth of them: 400 ± 4 × 18.
    half = len(by_action["allow"]) // 2
    assert by_action["allow"][:half] == by_action["allow"][half:]
    assert 328 < half < 472
    # Without a key it is a draw of its own: 2000 × 0.2.
    client.decide([{"ip": "10.0.0.1"}] * 2000)
    wait_until(lambda: sum(log_status(instance)[n] for n in ("written", "skipped")) == 6310, "read")
    keyless = sum(line["key"] == "0" and line["action"] == "allow"
                  for line in await_lines(instance, log_status(instance)["written"]))
    assert 328 < keyless < 472


def test_files_are_bounded(make_instance):
    instance = make(make_instance,
                    log="{{ sample: 100%, rotate: 64KiB, keep: 3 }}".format()).start()
    client = instance.client()
    for key in range(1, 61):
        client.decide([{"ip": "192.0.2.1", 0: key}] * 100)
    wait_until(lambda: log_status(instance)["written"] + log_status(instance)["lost"] == 6000, "all")
    assert log_status(instance)["lost"] == 0
    kept = files(instance)
    assert len(kept) == 3
    assert all(file.stat().st_size <= 320 << 10 for file in kept)
    found = lines(instance)
    keys = [int(line["key"]) for line in found]
    assert keys == sorted(keys) and keys[-1] == 60, "the newest are there, in order"
    assert log_status(instance)["file"] == int(kept[-1].stem.split("-")[1])


def test_names_follow_the_generations(make_instance):
    instance = make(make_instance).start()
    client = instance.client()
    client.decide({"ip": "192.0.2.1"})
    rules = "  - { id: first, when: 'level == 1', then: allow }\n" \
            "  - { id: renamed, when: 'ip in $bad_nets', then: deny }\n"
    instance.apply(instance.write_config(rules=rules))
    wait_until(lambda: client.describe().generation == 2, "adopted")
    client.decide({"ip": "192.0.2.1"})
    assert [(line["generation"], line["rule"]) for line in await_lines(instance, 2)] \
        == [(1, "bad-net"), (2, "renamed")]


def test_a_publish_switches_it_on_and_off(make_instance):
    instance = make(make_instance).start()
    client = instance.client()
    on, off = LOGGED, CONFIG

    def publish(config):
        instance.config = config
        instance.apply(instance.write_config())
        generation = instance.generation()
        wait_until(lambda: client.describe().generation == generation, "adopted")

    client.decide({"ip": "192.0.2.1", 0: 1})
    await_lines(instance, 1)
    publish(off)
    wait_until(lambda: not log_status(instance)["on"], "off")
    client.decide([{"ip": "192.0.2.1", 0: 2}] * 50)
    publish(on)
    client.decide({"ip": "192.0.2.1", 0: 3})
    assert [line["key"] for line in await_lines(instance, 2)] == ["1", "3"]
    assert log_status(instance)["lost"] == 0, "what was not wanted is not lost"


def test_nothing_is_missed_before_the_drain_begins(race_instance):
    """What a generation that switches it on decides is kept, however late its thread hears of it."""
    instance = race_instance
    instance.start()
    client = instance.client()
    client.decide({"ip": "192.0.2.1", 0: 1})
    instance.config, instance.options["log"] = LOGGED, EVERYTHING
    instance.hold("log-switching")
    instance.apply(instance.write_config())
    instance.await_held("log-switching")
    client.decide([{"ip": "192.0.2.1", 0: 2}] * 3000, trace=TRACE)
    instance.release("log-switching")
    assert {line["key"] for line in await_lines(instance, 3000)} == {"2"}
    assert log_status(instance)["lost"] == 0


@pytest.mark.parametrize("victim", ["tern-control", "ternd"])
def test_it_goes_on_where_it_was(make_instance, victim):
    instance = make(make_instance).start()
    keys = iter(range(1, 10000))
    sent = []
    for _ in range(3):
        with instance.client() as client:
            for _ in range(20):
                key = next(keys)
                client.decide({"ip": "192.0.2.1", 0: key})
                sent.append(str(key))
            if victim == "ternd":
                # The ring dies with its process; what was drained before does not.
                await_lines(instance, len(sent))
                pid = instance.ternd_pid()
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: instance.ternd_pid() not in (pid, None), "restarted")
                wait_until(instance.answers, "answering")
            else:
                pid = instance.control_pid()
                os.kill(pid, signal.SIGKILL)
                # Decided while nobody drains.
                for _ in range(20):
                    key = next(keys)
                    client.decide({"ip": "192.0.2.1", 0: key})
                    sent.append(str(key))
                wait_until(lambda: (instance.try_status() or {"controlplane": {"pid": pid}})
                           ["controlplane"]["pid"] != pid, "restarted")
    wait_until(lambda: {line["key"] for line in lines(instance) if "key" in line} >= set(sent), "all")
    found = [line["key"] for line in lines(instance) if line.get("rule") == "bad-net"]
    assert log_status(instance)["lost"] == 0
    # Lines whose position was not noted before a kill are written again, never left out.
    assert sorted(set(found), key=int) == sent


def test_what_a_stopped_drain_misses_is_counted_and_said(make_instance):
    instance = make(make_instance).start()
    client = instance.client(timeout=20.0)
    client.decide({"ip": "192.0.2.1", 0: 1})
    await_lines(instance, 1)
    pid = instance.control_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(10):  # more than a ring holds
            client.decide([{"ip": "192.0.2.1", 0: 2}] * 4096)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: log_status(instance)["written"] + log_status(instance)["lost"]
               >= 1 + 10 * 4096, "caught up")
    status, found = log_status(instance), lines(instance)
    lost = sum(line.get("lost", 0) for line in found)
    assert status["lost"] == lost > 0
    assert sum("key" in line for line in found) + lost == 1 + 10 * 4096
    assert instance.answers()


def test_a_full_disk_delays_nobody(make_instance, as_root, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)],
                      capture_output=True).returncode != 0:
        pytest.skip("cannot mount a tmpfs")
    try:
        instance = make(make_instance, log="{{ sample: 100%, directory: {} }}".replace(
            "{}", str(small / "log")).format()).start()
        client = instance.client(timeout=20.0)
        client.decide([{"ip": "192.0.2.1"}] * 4000)
        wait_until(lambda: log_status(instance)["failed"] > 0, "noticed")
        status = log_status(instance)
        assert "No space left" in status["error"]
        assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY
        assert instance.log_text().count("decision log:") == 1, "said once a minute"
        text = (small / "log" / "decisions-00000001.jsonl").read_text()
        assert text == "" or text.endswith("\n"), "no half line"
        for file in (small / "log").iterdir():
            file.unlink()
        before = log_status(instance)["written"]
        def goes_on():
            client.decide({"ip": "192.0.2.1"})
            return log_status(instance)["written"] > before or None
        wait_until(goes_on, "written again")
        assert log_status(instance)["error"] is None, "over before it was counted"
        assert instance.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_directory_that_cannot_be_made_shows_at_once(make_instance):
    instance = make(make_instance, log="{{ directory: no/such/place }}".format()).start()
    wait_until(lambda: log_status(instance)["error"], "told")
    assert "no/such/place" in log_status(instance)["error"]
    (instance.sources / "no/such").mkdir(parents=True)
    client = instance.client()

    def goes_on():
        client.decide({"ip": "192.0.2.1"})
        return log_status(instance)["written"] > 0
    wait_until(goes_on, "written")
    assert log_status(instance)["error"] is None
    assert (instance.sources / "no/such/place/decisions-00000001.jsonl").exists()


def test_a_removed_folder_is_made_again(make_instance):
    instance = make(make_instance).start()
    client = instance.client()
    client.decide({"ip": "192.0.2.1", 0: 1})
    await_lines(instance, 1)
    shutil.rmtree(instance.state_dir / "decisions")

    def goes_on():
        client.decide({"ip": "192.0.2.1", 0: 2})
        return files(instance) and lines(instance)
    assert wait_until(goes_on, "written again")[0]["key"] == "2"


def test_without_room_for_its_position_everything_else_works(make_instance):
    instance = make(make_instance)
    (instance.state_dir / "decisions.position").mkdir()
    instance.start()
    assert instance.client().decide({"ip": "192.0.2.1"}).action is Action.DENY
    assert instance.status()["decision_log"] is None
    assert "no decision log" in instance.log_text()
    instance.apply()


def test_ternctl_log(make_instance):
    instance = make(make_instance).start()
    client = instance.client()
    client.decide([{"ip": "10.0.0.1", 0: key} for key in range(1, 31)])
    client.decide([{"ip": "192.0.2.1", 0: 77}, {"level": -7}], trace=TRACE)
    await_lines(instance, 32)

    def shown(*options):
        done = instance.ctl("log", *options, check=0)
        return done.stdout.splitlines()

    assert len(shown()) == 20
    assert len(shown("-n", "100")) == 32
    assert "challenge" in shown("-n", "1")[0] and "level" in shown("-n", "1")[0]
    assert [json.loads(line)["key"] for line in shown("--action", "deny", "--json")] == ["77"]
    assert [json.loads(line)["key"] for line in shown("--rule", "own-net", "-n", "3", "--json")] \
        == ["28", "29", "30"]
    assert len(shown("--key", "77")) == 1
    assert "trace 00-" in shown("--key", "77")[0]
    assert shown("--rule", "nobody") == []
    assert instance.ctl("log", "--action", "maybe").returncode == 2


def test_ternctl_log_follows_into_the_next_file(make_instance):
    instance = make(make_instance,
                    log="{{ sample: 100%, rotate: 64KiB, keep: 100 }}".format()).start()
    client = instance.client()
    client.decide({"ip": "192.0.2.1", 0: 1})
    await_lines(instance, 1)
    follower = subprocess.Popen([str(instance.binaries / "ternctl"), "log", "--follow", "--json",
                                 "--run-dir", str(instance.run_dir)], stdout=subprocess.PIPE,
                                text=True)
    try:
        seen = [json.loads(follower.stdout.readline())["key"]]
        for key in range(2, 12):
            client.decide([{"ip": "192.0.2.1", 0: key}] * 100)
            while len(seen) < 1 + (key - 1) * 100:
                seen.append(json.loads(follower.stdout.readline())["key"])
        assert seen == ["1"] + [str(key) for key in range(2, 12) for _ in range(100)]
        assert len(files(instance)) > 1
    finally:
        follower.terminate()
        follower.wait()
