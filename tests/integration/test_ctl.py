"""ternctl: exit codes, what it prints for people and for machines."""
import json
import os
import signal

import pytest
from instance import RULES, wait_until


def test_up_says_ready_and_stops_cleanly_on_either_signal(make_instance):
    for number in (signal.SIGINT, signal.SIGTERM):
        instance = make_instance().start()
        assert instance.output.read_text().startswith("ready")
        pids = instance.ternd_pid(), instance.control_pid()
        instance.supervisor.send_signal(number)
        assert instance.supervisor.wait(15) == 0
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_status(served):
    status = served.status()
    assert status["generation"] >= 1
    for plane in ("dataplane", "controlplane"):
        os.kill(status[plane]["pid"], 0)
    assert status["dataplane"]["generation"] == status["generation"]
    assert status["arena"]["bytes"] == 64 << 20
    assert str(served.port) in json.dumps(status["listen"])
    text = served.ctl("status", check=0).stdout
    assert str(status["generation"]) in text and str(status["dataplane"]["pid"]) in text


def test_decide(served):
    told = served.ctl_json("decide", "ip=192.0.2.7")
    assert (told["action"], told["rule_name"], told["score"]) == ("deny", "bad-net", 1.0)
    assert "deny" in served.ctl("decide", "ip=192.0.2.7", check=0).stdout
    assert served.ctl("decide", "ip=192.0.2.7", "--exit-code").returncode == 1
    assert served.ctl("decide", "ip=10.0.0.1", "--exit-code").returncode == 0
    assert served.ctl("decide", "path=/login", "user=2", check=0).stdout.startswith("challenge")


@pytest.mark.parametrize("arguments", [["color=red"], ["ip=1.2.3"], ["user=-1"], ["flag=maybe"],
                                       ["nonsense"], ["user=99999999999999999999"]])
def test_decide_with_what_does_not_fit(served, arguments):
    done = served.ctl("decide", *arguments)
    assert done.returncode == 2
    assert done.stderr.strip()


def test_explain_names_rule_and_lookups(served):
    text = served.ctl("explain", "ip=203.0.113.200", "path=/x.php", check=0).stdout
    assert "bot-net" in text and "challenge" in text
    told = served.ctl_json("explain", "ip=203.0.113.200")
    assert "bot-net" in json.dumps(told)


def test_table_get(served):
    assert "hosting" in served.ctl("table", "get", "asn", "203.0.113.200", check=0).stdout
    assert served.ctl("table", "get", "users", "77").returncode == 1
    assert served.ctl("table", "get", "no_such_table", "1").returncode in (1, 2)


def test_stats_count_decisions(served):
    before = served.stats()
    client = served.client()
    client.decide([{"ip": "192.0.2.1"}] * 100 + [{}] * 50)
    after = served.stats()
    assert after["decisions"] == before["decisions"] + 150
    assert after["denied"] == before["denied"] + 100
    assert after["allowed"] == before["allowed"] + 50
    stages = served.ctl_json("stats")["stages"]
    assert stages["total"]["count"] > 0 and stages["total"]["p50_ns"] > 0
    assert "decisions" in served.ctl("stats", check=0).stdout


def test_readers(served):
    assert str(served.ternd_pid()) in served.ctl("readers", check=0).stdout


def test_check(served):
    assert served.ctl("check", served.config_path, run_dir=False).returncode == 0
    path = served.write_config(served.sources / "wrong.yaml",
                               rules="  - { id: a, when: 'ipp in $bad_nets', then: deny }\n"
                                     "  - { id: b, when: 'ip ==', then: deny }\n"
                                     "  - { id: c, when: 'ip in $bad_netz', then: allow }\n")
    done = served.ctl("check", path, run_dir=False)
    assert done.returncode == 1
    lines = path.read_text().splitlines()
    for rule in ("id: a", "id: b", "id: c"):
        line = next(i for i, text in enumerate(lines, 1) if rule in text)
        assert f"wrong.yaml:{line}:" in done.stderr, rule
    assert "bad_nets" in done.stderr, "the nearest valid name"


def test_usage_errors(served):
    for arguments in (["no-such-command"], ["apply"], ["status", "--no-such-option"],
                      ["history", "--limit", "many"]):
        assert served.ctl(*arguments, run_dir=False).returncode == 2, arguments
    assert served.ctl("apply", "--help", run_dir=False).returncode == 0


def test_not_reachable(served, tmp_path):
    for command in (["status"], ["history"], ["decide", "ip=1.2.3.4"], ["apply", served.config_path]):
        done = served.ctl(*command, "--run-dir", tmp_path, run_dir=False)
        assert done.returncode == 3, command
        assert str(tmp_path) in done.stderr


def test_apply_history_rollback(instance):
    first = instance.generation()
    client = instance.client()
    instance.write_config(rules=RULES.replace("then: deny, score: 1.0", "then: challenge"))
    second = instance.apply(instance.config_path, "-m", "softer")
    assert second["published"] and second["acknowledged"] and second["generation"] > first
    assert client.decide({"ip": "192.0.2.1"}).action.name == "CHALLENGE"
    rows = instance.history()
    assert rows[0]["generation"] == second["generation"] and rows[0]["message"] == "softer"
    assert rows[0]["state"] == "live" and rows[0]["served"]

    back = instance.ctl_json("rollback", first)
    assert back["generation"] > second["generation"] and back["restored_from"] == first
    verdict = client.decide({"ip": "192.0.2.1"})
    assert verdict.action.name == "DENY" and verdict.generation == back["generation"]
    assert instance.history()[0]["restored_from"] == first
    assert instance.ctl("rollback", 4000).returncode == 1


def test_dry_run_shows_the_difference_and_changes_nothing(instance):
    first = instance.generation()
    instance.write_source("bad-nets.txt", "192.0.2.0/24\n198.18.0.0/15\n203.0.113.5\n10.9.0.0/16\n")
    instance.write_config(rules=RULES.replace("  - { id: script, when: 'path ends_with \".php\"', add: 4 }\n",
                                              "") + "  - { id: extra, when: 'user == 5', then: deny }\n")
    told = instance.apply(instance.config_path, "--dry-run")
    assert told["dry_run"] and not told["published"]
    changes = {(entry["change"], entry["rule"]) for entry in told["rules_difference"]}
    assert ("added", "extra") in changes and ("removed", "script") in changes
    nets = next(table for table in told["tables"] if table["name"] == "bad_nets")
    assert (nets["rows"], nets["previous_rows"]) == (4, 3)
    assert instance.generation() == first
    assert instance.client().decide({"user": 5}).action.name == "ALLOW"
    assert "extra" in instance.ctl("apply", instance.config_path, "--dry-run", check=0).stdout


def test_a_table_that_did_not_change_is_shared(instance):
    instance.write_config(rules=RULES.replace("add: 4", "add: 5"))
    told = instance.apply()
    assert all(table["reused"] for table in told["tables"])
    assert told["shared_bytes"] > 0


def test_wait(instance):
    generation = instance.generation()
    instance.ctl("wait", "--generation", generation, "--timeout", "5s", check=0)
    assert instance.ctl("wait", "--generation", generation + 1, "--timeout", "100ms").returncode == 1
    instance.apply()
    instance.ctl("wait", "--generation", generation + 1, "--timeout", "5s", check=0)


def test_stats_without_the_control_plane(instance):
    """The board is read directly."""
    client = instance.client()
    client.decide({"ip": "192.0.2.1"})
    os.kill(instance.supervisor.pid, signal.SIGSTOP) # nobody restarts it meanwhile
    try:
        pid = instance.control_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: instance.ctl("status").returncode == 3, "tern-control is gone")
        assert instance.stats()["denied"] >= 1
        assert instance.ctl("readers").returncode == 0
        assert json.loads(instance.ctl("status", "--json").stdout)["controlplane"]["pid"] is None
        assert client.decide({"ip": "192.0.2.1"}).action.name == "DENY"
        assert instance.ctl("decide", "ip=192.0.2.1").returncode == 0
    finally:
        os.kill(instance.supervisor.pid, signal.SIGCONT)
    wait_until(instance.try_status, "tern-control is back")

