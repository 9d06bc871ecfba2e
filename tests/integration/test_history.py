"""Going back and what the history knows: retained sections, rules alone, held refreshes, audit; and a
history that is locked, damaged, full or gone while tern runs."""
import os
import re
import shutil
import signal
import sqlite3
import subprocess

import pytest
from instance import BUILD, CONFIG, DATA, RULES, wait_until
from tern import Action, Client
from test_sources import REFRESH, action, nets, replace, source, with_keys

SOFTER = RULES.replace("then: deny, score: 1.0", "then: challenge")


def look(instance, table):
    """Waits until the source has been looked at once more: its age, seen again and again, falls."""
    seen = [source(instance, table)["age_s"]]

    def has_fallen():
        seen.append(source(instance, table)["age_s"])
        return seen[-1] < seen[-2]
    wait_until(has_fallen, "another look")


def test_a_rollback_holds_refreshes_until_resume(make_instance):
    instance = with_keys(make_instance(), bad_nets=REFRESH).start()
    first = instance.generation()
    replace(instance, "bad-nets.txt", "203.0.113.0/24\n")
    wait_until(lambda: instance.generation() > first, "refreshed")
    back = instance.ctl_json("rollback", first, "-m", "poisoned")
    assert back["restored_from"] == first and not back["rules_only"]
    assert action(instance, ip="192.0.2.1") is Action.DENY
    held = instance.status()["refreshes_held"]
    assert held["generation"] == first and held["uid"] == os.geteuid()
    assert "REFRESH HELD" in instance.ctl("status", check=0).stdout
    instance.kill_control()
    assert instance.status()["refreshes_held"]["since"] == held["since"], "over a restart as well"
    replace(instance, "bad-nets.txt", "198.18.0.0/15\n")
    # An apply reads the sources, and says that they are held from then on again.
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 0 and "ternctl resume" in done.stderr
    assert action(instance, ip="198.18.0.1") is Action.DENY
    replace(instance, "bad-nets.txt", DATA["bad-nets.txt"])
    assert instance.ctl_json("resume")["held"]
    wait_until(lambda: action(instance, ip="192.0.2.1") is Action.DENY, "refreshed again")
    assert instance.status()["refreshes_held"] is None
    assert not instance.ctl_json("resume")["held"]
    assert "not held" in instance.ctl("resume", check=0).stdout
    instance.kill_control()
    assert instance.status()["refreshes_held"] is None


def test_refreshes_do_not_push_out_the_configuration_before(make_instance):
    """Five refreshes after a bad apply, the one before it is still there to go back to."""
    instance = with_keys(make_instance(), tokens=REFRESH).start()
    good = instance.generation()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace("then: deny, score: 1.0", "then: allow"))
    instance.apply()
    for i in range(5):
        before = instance.generation()
        replace(instance, "tokens.txt", f"alpha\ntoken-{i}\n")
        wait_until(lambda: instance.generation() > before, "refreshed")
    assert action(instance, ip="192.0.2.1") is Action.ALLOW
    instance.ctl_json("rollback", good)
    assert action(instance, ip="192.0.2.1") is Action.DENY
    assert instance.client().lookup("tokens", "beta") is not None, "its data as well"
    done = instance.ctl("rollback", good + 1)
    assert done.returncode == 1 and "not kept any more; retained are: " in done.stderr


def test_rules_only(make_instance):
    """Yesterday's rules over today's data, and the data stays current."""
    instance = with_keys(make_instance(), bad_nets=REFRESH).start()
    first = instance.generation()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace("then: deny, score: 1.0", "then: challenge"))
    instance.apply()
    replace(instance, "bad-nets.txt", "203.0.113.7\n")
    wait_until(lambda: action(instance, ip="203.0.113.7") is Action.CHALLENGE, "refreshed")
    told = instance.ctl_json("rollback", "--rules-only", "-m", "too soft")
    assert told["rules_only"] and told["restored_from"] == first
    assert all(table["reused"] for table in told["tables"])
    assert action(instance, ip="203.0.113.7") is Action.DENY, "the old rule, the new row"
    assert action(instance, ip="192.0.2.1") is Action.ALLOW
    assert instance.status()["refreshes_held"] is None
    row = instance.ctl_json("history", told["generation"])["rows"][0]
    assert row["kind"] == "rollback" and row["message"] == "too soft"
    assert "challenge" in row["config_text"] and "then: deny, score: 1.0" in row["rules_text"]
    assert row["details"]["rules_only"]
    assert [(item["change"], item["rule"]) for item in row["details"]["rules"]["changes"]] == [
        ("changed", "bad-net")]
    # The mixture lives on through refreshes and a restart.
    replace(instance, "bad-nets.txt", "203.0.113.8\n")
    wait_until(lambda: action(instance, ip="203.0.113.8") is Action.DENY, "refreshed")
    instance.kill_control()
    replace(instance, "bad-nets.txt", "203.0.113.9\n")
    wait_until(lambda: action(instance, ip="203.0.113.9") is Action.DENY, "and again")
    # Back to the other rules: again the newest ones that differ.
    assert instance.ctl_json("rollback", "--rules-only")["published"]
    assert action(instance, ip="203.0.113.9") is Action.CHALLENGE


def test_rules_that_do_not_fit_are_refused_with_the_reason(make_instance):
    instance = make_instance(rules=RULES + "  - { id: gold, when: 'users.plan == \"gold\"', then: allow }\n")
    instance.start()
    first = instance.generation()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace(", plan: string }", " }").replace(
        "  - { id: gold, when: 'users.plan == \"gold\"', then: allow }\n", ""))
    second = instance.apply()["generation"]
    done = instance.ctl("rollback", first, "--rules-only")
    assert done.returncode == 1
    assert f"generation {first} do not fit" in done.stderr and "plan" in done.stderr
    assert instance.generation() == second
    assert instance.history()[0]["state"] == "failed"
    assert instance.ctl_json("rollback", first)["published"], "with its own tables they do"


def test_rules_only_over_tables_that_were_added_since(make_instance):
    instance = make_instance().start()
    first = instance.generation()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace(
        "rules:\n", "  more: { type: exact_set, of: u64, source: more.txt }\nrules:\n"
        "  - { id: more, when: 'user in $more', then: deny }\n", 1))
    instance.write_source("more.txt", "5\n")
    instance.apply()
    assert action(instance, user=5) is Action.DENY
    assert instance.ctl_json("rollback", first, "--rules-only")["published"]
    assert action(instance, user=5) is Action.ALLOW
    assert instance.client().lookup("more", 5) is not None


def test_history_tells_what_changed(make_instance):
    instance = make_instance()
    instance.config_path.write_text(instance.config_path.read_text() +
                                    "tests:\n  - { request: { ip: 10.0.0.1 }, expect: allow }\n")
    instance.start()
    first = instance.generation()
    lines = RULES.splitlines(keepends=True)
    rules = [lines[0], lines[2], lines[1]] + lines[3:-1] + [
        "  - { id: extra, when: 'user == 5', then: deny }\n"]
    instance.write_config(rules="".join(rules))
    instance.write_source("bad-nets.txt", nets(7))
    second = instance.apply(instance.config_path, "-m", "reorder")["generation"]
    row = instance.ctl_json("history", second)["rows"][0]
    details = row["details"]
    assert row["message"] == "reorder" and row["uid"] == os.geteuid() and row["served"]
    assert row["config_text"] == instance.config_path.read_text() and row["rules_text"] is None
    assert details["previous_generation"] == first and details["pid"] > 0 and details["acknowledged"]
    rules = details["rules"]
    assert (rules["added"], rules["removed"], rules["changed"], rules["moved"]) == (1, 1, 0, 1)
    changes = {(item["change"], item["rule"]) for item in rules["changes"]}
    assert changes - {("moved", "bad-net"), ("moved", "bad-host")} == {
        ("added", "extra"), ("removed", "flagged")}
    table, = details["tables"]
    assert (table["name"], table["previous_rows"], table["rows"]) == ("bad_nets", 3, 7)
    assert details["tests"] == {"run": 0, "failed": 0}
    assert instance.ctl_json("history", first)["rows"][0]["details"]["tests"] == {
        "run": 1, "failed": 0}
    text = instance.ctl("history", second, check=0).stdout
    for word in ("reorder", "added", "extra", "flagged", "bad_nets", "3 → 7 rows", "served now"):
        assert word in text, word
    assert instance.ctl("history", 4000).returncode == 1
    assert instance.ctl("history", "first").returncode == 2


def test_the_audit_knows_who_and_why(make_instance):
    instance = make_instance().start()
    instance.write_source("bad-nets.txt", nets(7))
    instance.apply(instance.config_path, "-m", "more of them")
    instance.apply(instance.config_path, "--dry-run")
    (instance.sources / "users.csv").unlink()
    assert instance.ctl("apply", instance.config_path).returncode == 1
    instance.ctl("rollback", check=0)
    instance.ctl("resume", check=0)
    rows = instance.ctl_json("audit")["rows"]
    assert [row["action"].split()[0] for row in rows] == [
        "resume", "rollback", "apply", "apply", "apply", "start"]
    assert all(row["uid"] == os.geteuid() and row["pid"] > 0 and row["at"] for row in rows)
    assert "more of them" in rows[4]["action"] and "bad_nets 3 → 7 rows" in rows[4]["outcome"]
    assert "--dry-run" in rows[3]["action"] and "not published" in rows[3]["outcome"]
    assert "refused" in rows[2]["outcome"] and "users.csv" in rows[2]["outcome"]
    text = instance.ctl("audit", "-n", "2", check=0).stdout
    assert "resume" in text and "rollback" in text and "users.csv" not in text


def database(instance):
    return instance.state_dir / "state.db"


def refused(instance, *words):
    """An apply that the history's state refuses; what is served serves on."""
    before = instance.generation()
    instance.write_config(rules=SOFTER)
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 1, done.stdout
    for word in words:
        assert word in done.stderr, done.stderr
    assert instance.generation() == before
    assert action(instance, ip="192.0.2.1") is Action.DENY


def softened(instance):
    assert instance.apply()["published"]
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE


def test_a_locked_history_refuses_and_recovers(make_instance):
    instance = make_instance().start()
    with sqlite3.connect(database(instance), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(instance, "state.db", "locked")
        assert instance.ctl("status").returncode == 0
        other.execute("ROLLBACK")
    softened(instance)
    assert instance.history()[0]["state"] == "live"


def test_a_history_locked_while_a_publish_is_under_way(race_instance):
    """The swap is done, its row cannot be completed: it serves, a warning says so, and the next job
    settles it."""
    instance = race_instance.start()
    instance.write_config(rules=SOFTER)
    instance.hold("publish-swapped")
    applying = subprocess.Popen([str(instance.binaries / "ternctl"), "apply",
                                 str(instance.config_path), "--run-dir", str(instance.run_dir)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    instance.await_held("publish-swapped")
    other = sqlite3.connect(database(instance), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    instance.release("publish-swapped")
    out, error = applying.communicate(timeout=40)
    assert applying.returncode == 0, error
    assert "warning" in error and "history could not be written" in error and "locked" in error
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE
    assert instance.history()[0]["state"] == "publishing"
    other.execute("ROLLBACK")
    other.close()
    instance.apply(instance.config_path, "--dry-run")
    assert instance.history()[0]["state"] == "live"


def test_a_history_taken_away_or_replaced(make_instance):
    instance = make_instance().start()
    path = database(instance)
    path.rename(path.with_suffix(".aside"))
    refused(instance, "state.db", "taken away")
    path.write_bytes(b"")
    refused(instance, "state.db", "replaced")
    path.unlink()
    path.with_suffix(".aside").rename(path)
    softened(instance)


def test_a_history_damaged_while_in_use(make_instance):
    """Rubbish over every page: what is not in SQLite's memory is an error that names the file. The next
    tern-control does not start with it, ternd serves on, and without it all goes on."""
    instance = make_instance().start()
    control, before = instance.control_pid(), instance.generation()
    for name in ("state.db-wal", "state.db"):
        path = instance.state_dir / name
        if path.exists():
            path.open("r+b").write(b"\xa5" * path.stat().st_size)
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 0 or "state.db" in done.stderr, done.stderr
    assert instance.ctl("history").returncode in (0, 1) and instance.answers()
    assert instance.control_pid() == control, "it lives on"
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: re.search("state.db is damaged.*move it away", instance.log_text()), "named")
    assert instance.answers()
    for path in instance.state_dir.glob("state.db*"):
        path.unlink(missing_ok=True)
    instance.await_control(control)
    assert instance.apply()["generation"] > before


@pytest.mark.parametrize("what", ["history", "sections"])
def test_a_full_state_directory(make_instance, as_root, tmp_path, what):
    """History that cannot be written refuses; sections that cannot be kept are a warning."""
    small = tmp_path / "small"
    small.mkdir()
    size = "400k" if what == "history" else "2m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(small)],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    instance = make_instance()
    try:
        instance.state_dir = small
        instance.start()
        if what == "history":
            with open(small / "filler", "wb", buffering=0) as filler:
                with pytest.raises(OSError):
                    for _ in range(1000):
                        filler.write(b"x" * 4096)
            refused(instance, "state.db", "full")
            (small / "filler").unlink()
            softened(instance)
        else:
            instance.write_source("tokens.txt", "".join(f"token-{i:032d}\n" for i in range(400000)))
            done = instance.ctl("apply", instance.config_path)
            assert done.returncode == 0, done.stderr
            assert "sections could not be kept" in done.stderr and "No space" in done.stderr
            assert instance.client().lookup("tokens", f"token-{7:032d}") is not None
            served = instance.generation()
            assert not re.search(r"\.new$", "\n".join(os.listdir(small / "sections")), re.M)
            instance.write_source("tokens.txt", "gamma\n")
            assert instance.apply()["published"]
            assert instance.ctl("rollback", served).returncode == 1, "it was not kept"
    finally:
        problems = instance.dispose()
        subprocess.run(["umount", str(small)], check=False, capture_output=True)
    assert not problems, problems


def test_a_lost_history_and_a_reboot(make_instance):
    """Neither arena nor database: what the state directory keeps is served again, under a number that was
    never used."""
    instance = make_instance().start()
    instance.write_config(rules=SOFTER)
    last = instance.apply()["generation"]
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    for path in instance.state_dir.glob("state.db*"):
        path.unlink()
    (instance.sources / "users.csv").unlink()
    instance.start()
    assert instance.generation() > last
    row = instance.history()[0]
    assert row["kind"] == "restore" and row["restored_from"] == last
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE
    assert source(instance, "users")["rows"] == 3
    assert instance.ctl_json("rollback", last - 1)["published"]
    assert action(instance, ip="192.0.2.1") is Action.DENY


@pytest.mark.parametrize("point", ["rollback-held", "publish-built", "publish-announced",
                                   "publish-swapping", "publish-swapped", "archive-sections",
                                   "archive-listed"])
def test_killed_during_a_rollback(race_instance, point):
    """Wherever it dies: what is served is one of the two, whole; refreshes do not undo it; it can be done
    again."""
    instance = with_keys(race_instance, bad_nets=REFRESH).start()
    good = instance.generation()
    replace(instance, "bad-nets.txt", "203.0.113.0/24\n")
    wait_until(lambda: instance.generation() > good, "refreshed")
    control = instance.control_pid()
    instance.kill_at(point)
    instance.ctl("rollback", good)
    instance.await_killed(point)
    instance.await_control(control)
    assert instance.status()["refreshes_held"]["generation"] == good
    gone_back = point in ("publish-swapped", "archive-sections", "archive-listed")
    old, new = action(instance, ip="192.0.2.1"), action(instance, ip="203.0.113.1")
    assert (old, new) == ((Action.DENY, Action.ALLOW) if gone_back else (Action.ALLOW, Action.DENY))
    row = next(row for row in instance.history() if row["generation"] == instance.generation())
    assert row["state"] == "live"
    served = source(instance, "bad_nets")
    assert served["rows"] == (3 if gone_back else 1) and served["loaded_at"]
    assert str(instance.generation()) in os.listdir(instance.state_dir / "generations"), "kept"
    instance.ctl_json("rollback", good)
    assert action(instance, ip="192.0.2.1") is Action.DENY
    instance.ctl("resume", check=0)
    wait_until(lambda: action(instance, ip="203.0.113.1") is Action.DENY, "refreshes run again")


@pytest.mark.parametrize("point", ["publish-built", "publish-announced", "publish-swapped",
                                   "archive-sections"])
def test_killed_during_a_refresh(race_instance, point):
    instance = with_keys(race_instance, bad_nets=REFRESH).start()
    for address in ("203.0.113.1", "203.0.113.2"):
        instance.kill_at(point)
        replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + address + "\n")
        instance.await_killed(point)
        wait_until(lambda: action(instance, ip=address) is Action.DENY, "the next one does it", 30)
    wait_until(instance.try_status, "tern-control is back")
    generations = [row["generation"] for row in instance.history() if row["state"] == "live"]
    assert generations == sorted(generations, reverse=True)
    assert len(set(generations)) == len(generations)


def test_listen_and_workers_wait_for_the_next_start(make_instance):
    """What only a start takes over is said to do so; everything else is in force at once."""
    instance = make_instance().start()
    instance.write_config(workers=2, rules=SOFTER)
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 0 and "take effect when ternd is started again" in done.stderr
    assert instance.status()["dataplane"]["loops"] == 1
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE
    ternd = instance.ternd_pid()
    os.kill(ternd, signal.SIGKILL)
    wait_until(lambda: (instance.try_status() or {}).get("dataplane", {}).get("loops") == 2,
               "a new ternd with two loops")
    assert "take effect" not in instance.ctl("apply", instance.config_path).stderr


def test_secrets_are_never_kept(make_instance):
    """Neither history nor sections know more of a token than the configuration says; and a refresh does
    not take over one that has been replaced meanwhile."""
    secret = "secret-that-nobody-may-find-4711"
    instance = with_keys(make_instance(config=CONFIG.replace(
        "fields:", "tokens: [ {{ name: web, secret: '${{file:token}}' }} ]\nfields:", 1)), bad_nets=REFRESH)
    token = instance.write_source("token", secret)
    token.chmod(0o600)
    instance.start()

    def denied(address):
        with Client(instance.tcp, token=secret) as client:
            return client.decide({"ip": address}).action is Action.DENY
    assert denied("192.0.2.1")
    token.unlink()
    replace(instance, "bad-nets.txt", "203.0.113.0/24\n")
    wait_until(lambda: denied("203.0.113.1"), "refreshed without the file")
    instance.ctl("rollback", check=0)
    assert instance.ctl("apply", instance.config_path).returncode == 1, "an apply wants it"
    everything = b"".join(path.read_bytes() for path in instance.state_dir.rglob("*") if path.is_file())
    assert b"file:token" in everything and secret.encode() not in everything
    told = instance.ctl("history", instance.generation(), "--json", check=0).stdout
    assert "${file:token}" in told and secret not in told
    assert secret not in instance.log_text()


def test_a_wall_clock_that_jumps(make_instance):
    """Refreshes go on by a clock that does not jump, ages stay true, and history goes on."""
    shim = instance_shim()
    instance = with_keys(make_instance(), bad_nets=REFRESH)
    offset = instance.directory / "clock-offset"
    offset.write_text("0")
    os.environ["LD_PRELOAD"], os.environ["TERN_CLOCK_OFFSET"] = str(shim), str(offset)
    try:
        instance.launch()
    finally:
        del os.environ["LD_PRELOAD"], os.environ["TERN_CLOCK_OFFSET"]
    instance.await_ready()
    for number, jump_s in enumerate((10 * 365 * 86400, -5 * 365 * 86400, 0)):
        offset.write_text(str(jump_s))
        look(instance, "bad_nets")
        address = f"203.0.113.{number}"
        before = instance.generation()
        replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + address + "\n")
        wait_until(lambda: action(instance, ip=address) is Action.DENY, "refreshed all the same")
        wait_until(lambda: instance.generation() == before + 1, "status knows as well")
        row = instance.history()[0]
        assert row["kind"] == "refresh" and row["generation"] == before + 1
        item = source(instance, "bad_nets")
        assert 0 <= item["age_s"] < 5 and 0 <= item["next_refresh_s"] <= 0.05
        assert instance.apply()["published"]
    years = {row["at"][:4] for row in instance.history()}
    assert len(years) >= 3, "the clock did jump"


def instance_shim():
    shim = BUILD / "tests" / "integration" / "libclock-shim.so"
    if not shim.exists():
        pytest.skip(f"{shim} is not built")
    return shim
