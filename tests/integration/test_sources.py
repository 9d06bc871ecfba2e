"""Sources that change, shrink, break and come back while tern runs: refreshes, max_change, max_bytes,
on_error: keep, and what `status` says of each."""
import gzip
import os
import re
import shutil
import threading

import pytest
from instance import DATA, wait_until
from tern import Action

REFRESH = "refresh: 50ms"


def with_keys(instance, **keys):
    """Adds keys to tables of the configuration: bad_nets="refresh: 50ms"."""
    text = instance.config_path.read_text()
    for table, added in keys.items():
        text, found = re.subn(rf"(  {table}: {{.*?)( }}\n)", rf"\1, {added}\2", text)
        assert found == 1, table
    instance.config_path.write_text(text)
    return instance


def replace(instance, name, text):
    """As a careful program replaces a file: aside, then a rename."""
    aside = instance.write_source(name + ".new", text)
    os.rename(aside, instance.sources / name)


def source(instance, table):
    return next(item for item in instance.status()["sources"] if item["table"] == table)


def concluded(instance):
    """The newest row of the history once it says that it is live, else None."""
    row = instance.history()[0]
    return row if row["state"] == "live" else None


def action(instance, **request):
    return instance.client().decide(request).action


def nets(count):
    return "".join(f"192.0.2.{i}\n" for i in range(count))


def test_a_changed_source_is_published_by_itself(make_instance):
    instance = with_keys(make_instance(), bad_nets=REFRESH).start()
    first = instance.generation()
    assert action(instance, ip="203.0.113.9") is Action.ALLOW
    replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + "203.0.113.9\n")
    wait_until(lambda: action(instance, ip="203.0.113.9") is Action.DENY, "the new row")
    row = wait_until(lambda: concluded(instance), "the row, which is completed after the swap")
    assert row["kind"] == "refresh" and row["message"] == "bad_nets"
    assert row["generation"] == first + 1
    # Only what changed is built anew, and a table without `refresh` is not even looked at.
    replace(instance, "bad-hosts.txt", "other.example\n")
    replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + "203.0.113.10\n")
    wait_until(lambda: action(instance, ip="203.0.113.10") is Action.DENY, "the next row")
    assert action(instance, host="bad.example") is Action.DENY
    assert action(instance, host="other.example") is Action.ALLOW
    wait_until(lambda: concluded(instance), "its row")
    told = instance.ctl_json("history", instance.generation())["rows"][0]["details"]
    assert [table["name"] for table in told["tables"]] == ["bad_nets"]
    assert told["rules"]["known"] and not told["rules"]["changes"]


def test_a_touched_source_costs_no_generation(make_instance):
    instance = with_keys(make_instance(), bad_nets=REFRESH).start()
    first = instance.generation()
    for _ in range(3):
        before = source(instance, "bad_nets")
        replace(instance, "bad-nets.txt", DATA["bad-nets.txt"])
        wait_until(lambda: source(instance, "bad_nets")["age_s"] < 0.05, "looked at")
        assert source(instance, "bad_nets")["loaded_at"] == before["loaded_at"]
    assert instance.generation() == first
    assert [row["kind"] for row in instance.history()] == ["start"]


def test_status_tells_of_every_source(make_instance):
    instance = with_keys(make_instance(), bad_nets="refresh: 1h").start()
    told = {item["table"]: item for item in instance.status()["sources"]}
    assert list(told) == ["bad_nets", "asn", "bad_hosts", "users", "tokens"]
    item = told["bad_nets"]
    assert item["path"] == str(instance.sources / "bad-nets.txt")
    assert item["rows"] == 3 and item["bytes"] > 0
    assert item["source_bytes"] == len(DATA["bad-nets.txt"])
    assert 0 <= item["age_s"] < 20 and item["error"] is None and item["failures"] == 0
    assert item["refresh_s"] == 3600 and 3200 < item["next_refresh_s"] <= 3600
    assert told["asn"]["refresh_s"] is None and told["asn"]["next_refresh_s"] is None
    text = instance.ctl("status", check=0).stdout
    assert "bad-nets.txt" in text and "60 min" in text
    # A restarted tern-control knows it all from what is kept.
    loaded = item["loaded_at"]
    instance.kill_control()
    wait_until(lambda: len(instance.status()["sources"]) == 5, "its sources")
    item = source(instance, "bad_nets")
    assert item["loaded_at"] == loaded and item["rows"] == 3
    assert item["path"] == str(instance.sources / "bad-nets.txt")
    assert item["refresh_s"] == 3600 and item["next_refresh_s"] <= 3600


def test_refreshes_go_on_after_a_restart(make_instance):
    instance = with_keys(make_instance(), bad_nets=REFRESH).start()
    # The file that is edited meanwhile is nobody's configuration yet.
    instance.config_path.write_text("half edited")
    instance.kill_control()
    replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + "203.0.113.9\n")
    wait_until(lambda: action(instance, ip="203.0.113.9") is Action.DENY, "the new row")
    assert instance.history()[0]["kind"] == "refresh"


@pytest.mark.parametrize("damage, word", [
    ("missing", "No such file"), ("empty", "min_rows"), ("rubbish", "bad rows"), ("cut", "cut off"),
    ("folder", "folder"), ("bomb", "max_bytes")])
def test_a_failing_refresh_keeps_the_old_rows_and_says_so(make_instance, damage, word):
    instance = with_keys(make_instance(), bad_nets=f"{REFRESH}, max_bytes: 64KiB").start()
    first = instance.generation()
    path = instance.sources / "bad-nets.txt"
    packed = gzip.compress(b"192.0.2.0/24\n" * 1000)
    if damage == "missing":
        path.unlink()
    if damage == "folder":  # in one step, like the others: a file that is missing meanwhile fails otherwise
        (instance.sources / "link").symlink_to(instance.sources)
        os.rename(instance.sources / "link", path)
    contents = {"empty": "# nothing\n", "rubbish": "192.0.2.0/24\nno address\n",
                "cut": packed[:len(packed) // 2], "bomb": gzip.compress(b"192.0.2.1\n" * 1000000)}
    if damage in contents:
        replace(instance, "bad-nets.txt", contents[damage])
    failing = wait_until(lambda: source(instance, "bad_nets")["error"] and
                         source(instance, "bad_nets"), "the failure in status")
    assert word in failing["error"] and "bad_nets" in failing["error"]
    wait_until(lambda: source(instance, "bad_nets")["failures"] >= 4, "it goes on trying")
    assert source(instance, "bad_nets")["age_s"] > 0.05
    assert instance.generation() == first
    assert action(instance, ip="192.0.2.1") is Action.DENY
    rows = [row for row in instance.history() if row["kind"] == "refresh"]
    assert len(rows) == 1 and rows[0]["state"] == "failed", "one row, however often it fails"
    assert word in rows[0]["reason"]
    text = instance.ctl("status", check=0).stdout
    assert "SOURCE FAILS" in text and word in text
    assert instance.status()["last_failure"] is None, "no apply has failed"
    # It comes back by itself.
    replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + "203.0.113.9\n")
    wait_until(lambda: action(instance, ip="203.0.113.9") is Action.DENY, "the new rows")
    wait_until(lambda: source(instance, "bad_nets")["error"] is None, "and status knows")


def test_one_failing_source_does_not_stop_another(make_instance):
    instance = with_keys(make_instance(), bad_nets=REFRESH, tokens=REFRESH).start()
    (instance.sources / "tokens.txt").unlink()
    wait_until(lambda: source(instance, "tokens")["error"], "tokens fails")
    for i in range(3):
        replace(instance, "bad-nets.txt", DATA["bad-nets.txt"] + f"203.0.113.{i}\n")
        wait_until(lambda: action(instance, ip=f"203.0.113.{i}") is Action.DENY, "bad_nets goes on")
    assert source(instance, "tokens")["error"] and source(instance, "bad_nets")["error"] is None
    assert instance.client().lookup("tokens", "alpha") is not None


def test_who_is_to_blame_is_found_out(make_instance):
    """Two are due at once, and the configuration's tests fail because of one: the other is published."""
    instance = with_keys(make_instance(), bad_nets="refresh: 1h", tokens="refresh: 1h")
    instance.config_path.write_text(instance.config_path.read_text() +
                                    "tests:\n  - { request: { ip: 192.0.2.1 }, expect: deny }\n")
    instance.start()
    instance.write_source("bad-hosts.txt", "other.example\n")
    instance.apply()
    instance.ctl("rollback", check=0)  # both are due at once when it ends
    replace(instance, "bad-nets.txt", "203.0.113.0/24\n")
    replace(instance, "tokens.txt", "gamma\n")
    instance.ctl("resume", check=0)
    wait_until(lambda: source(instance, "bad_nets")["error"], "the one is refused")
    assert "tests" in source(instance, "bad_nets")["error"]
    wait_until(lambda: source(instance, "tokens")["rows"] == 1, "the other is published")
    assert source(instance, "tokens")["error"] is None
    assert action(instance, ip="192.0.2.1") is Action.DENY
    wait_until(lambda: concluded(instance), "its row, which is completed after the swap")
    rows = [row for row in instance.history() if row["kind"] == "refresh"]
    assert sorted(row["state"] for row in rows) == ["failed", "live"]


def test_a_configuration_whose_tests_fail_is_not_refreshed(make_instance):
    """The tests of the configuration hold for its data as well."""
    instance = with_keys(make_instance(), bad_nets=REFRESH)
    instance.config_path.write_text(instance.config_path.read_text() +
                                    "tests:\n  - { request: { ip: 192.0.2.1 }, expect: deny }\n")
    instance.start()
    first = instance.generation()
    replace(instance, "bad-nets.txt", "203.0.113.0/24\n")
    wait_until(lambda: source(instance, "bad_nets")["error"], "refused")
    assert "tests" in source(instance, "bad_nets")["error"]
    assert instance.generation() == first and action(instance, ip="192.0.2.1") is Action.DENY


def test_too_large_a_change_is_refused_until_it_is_wanted(make_instance):
    instance = with_keys(make_instance(), bad_nets="max_change: 20%")
    instance.write_source("bad-nets.txt", nets(100))
    instance.start()
    first = instance.generation()
    for count in (79, 121, 1):
        replace(instance, "bad-nets.txt", nets(count))
        done = instance.ctl("apply", instance.config_path)
        assert done.returncode == 1 and "max_change" in done.stderr and "100" in done.stderr
        assert "tern.yaml:" in done.stderr
    assert instance.generation() == first
    for count in (80, 96, 77):
        replace(instance, "bad-nets.txt", nets(count))
        assert instance.apply()["published"], count
    replace(instance, "bad-nets.txt", nets(5))
    assert instance.apply(instance.config_path, "--force-change")["published"]
    assert action(instance, ip="192.0.2.9") is Action.ALLOW
    assert "--force-change" in instance.ctl_json("audit")["rows"][0]["action"]


def test_max_change_looks_at_the_rows_themselves(make_instance):
    """As many other rows are another file; the same ones in another order and notation are none."""
    instance = with_keys(make_instance(), bad_nets="max_change: 20%", users="max_change: 40%")
    instance.write_source("bad-nets.txt", nets(100))
    instance.start()
    replace(instance, "bad-nets.txt", "".join(f"198.51.100.{i}\n" for i in range(100)))
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 1 and "100.0% of its 100 rows change" in done.stderr
    again = "# sorted\n" + "".join(f"192.0.2.{i}/32\n" for i in reversed(range(100)))
    replace(instance, "bad-nets.txt", again)
    assert instance.apply()["published"]
    replace(instance, "bad-nets.txt", nets(90) + "".join(f"198.51.100.{i}\n" for i in range(20)))
    assert instance.apply()["published"]
    replace(instance, "bad-nets.txt", nets(69) + "".join(f"198.51.100.{i}\n" for i in range(20)))
    assert instance.apply()["published"], "21 of 110 are gone"
    # An altered record is a row of change, also after a restart.
    instance.kill_control()
    replace(instance, "users.csv", DATA["users.csv"].replace("0.9", "0.8").replace("0.5", "0.6"))
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 1 and "66.7% of its 3 rows change" in done.stderr
    replace(instance, "users.csv", DATA["users.csv"].replace("0.9", "0.8"))
    assert instance.apply()["published"]


def test_a_refresh_heeds_max_change(make_instance):
    instance = with_keys(make_instance(), bad_nets=f"{REFRESH}, max_change: 20%")
    instance.write_source("bad-nets.txt", nets(100))
    instance.start()
    replace(instance, "bad-nets.txt", nets(50))
    wait_until(lambda: source(instance, "bad_nets")["error"], "refused")
    assert "max_change" in source(instance, "bad_nets")["error"]
    assert action(instance, ip="192.0.2.90") is Action.DENY
    assert instance.apply(instance.config_path, "--force-change")["published"]
    assert source(instance, "bad_nets")["error"] is None
    assert action(instance, ip="192.0.2.90") is Action.ALLOW


def test_on_error_keep_applies_the_rest(make_instance):
    """A broken source does not stand in the way of a new rule; the table serves on as it was."""
    instance = with_keys(make_instance(), users="on_error: keep").start()
    (instance.sources / "users.csv").unlink()
    instance.config_path.write_text(instance.config_path.read_text().replace(
        "then: deny, score: 1.0", "then: challenge"))
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"tern.yaml:\d+:\d+: warning: .*users.csv.*3 rows read \d+ s ago are kept",
                     done.stderr)
    assert "kept" in done.stdout
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE
    assert instance.client().lookup("users", 1) is not None
    item = source(instance, "users")
    assert "users.csv" in item["error"] and item["rows"] == 3
    told = instance.ctl_json("history", instance.generation())["rows"][0]["details"]
    assert told["tables"][0]["kept"] and "users.csv" in told["tables"][0]["error"]
    # Bad rows, too few and too much change are kept from as well.
    instance.write_source("users.csv", "id,trust,age_days,plan\n1,much,1,gold\n")
    told = instance.apply()
    assert any(table["kept"] for table in told["tables"])
    assert any("expected a number" in item["message"] and item["severity"] == "warning"
               for item in told["diagnostics"])
    instance.write_source("users.csv", DATA["users.csv"])
    assert not any(table["kept"] for table in instance.apply()["tables"])
    assert source(instance, "users")["error"] is None


def test_on_error_keep_has_nothing_to_keep_of_another_definition(make_instance):
    instance = with_keys(make_instance(), tokens="on_error: keep").start()
    (instance.sources / "tokens.txt").unlink()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace("source: tokens.txt",
                                                 "source: tokens.txt, max_bad_rows: 5"))
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 1 and "tokens.txt" in done.stderr and "on_error" in done.stderr


def test_on_error_keep_after_a_reboot(make_instance):
    """Nothing is in shared memory any more: the state directory's rows are kept."""
    instance = with_keys(make_instance(), users="on_error: keep").start()
    first = instance.generation()
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    (instance.sources / "users.csv").unlink()
    instance.config_path.write_text(instance.config_path.read_text().replace(
        "then: deny, score: 1.0", "then: challenge"))
    instance.start()
    assert instance.history()[0]["kind"] == "start" and instance.generation() > first
    assert instance.client().lookup("users", 1) is not None
    assert action(instance, ip="192.0.2.1") is Action.CHALLENGE
    assert "users.csv" in source(instance, "users")["error"]


def test_a_source_rewritten_in_place_all_the_time(make_instance):
    """A careless writer: what is read half-written is refused, and nothing else is ever served."""
    text = "".join(f"10.{i // 256}.{i % 256}.1\n" for i in range(2000))
    instance = with_keys(make_instance(data={"bad-nets.txt": text},
                                       rules="  - { id: n, when: 'ip in $bad_nets', then: deny }\n"),
                         bad_nets=f"{REFRESH}, min_rows: 2000").start()
    ended = threading.Event()

    def rewrite():
        path = instance.sources / "bad-nets.txt"
        count = 0
        while not ended.is_set():
            count += 1
            with open(path, "w") as file:
                for i in range(2000):
                    file.write(f"10.{i // 256}.{i % 256}.{1 + count % 2}\n")
                    if i % 500 == 0:
                        file.flush()

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        client = instance.client()
        for _ in range(300):
            verdicts = client.decide([{"ip": f"10.0.{i}.{last}"} for i in (0, 99) for last in (1, 2)])
            denied = [verdict.action is Action.DENY for verdict in verdicts]
            assert denied in ([True, False, True, False], [False, True, False, True]), denied
    finally:
        ended.set()
        writer.join()
    for row in instance.history():
        assert row["rows"] >= 2000 or row["state"] == "failed"
