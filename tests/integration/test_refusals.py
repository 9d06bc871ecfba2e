"""What cannot be published is refused with its place; the generation before keeps serving and the
history says why."""
import gzip
import os
import shutil
import subprocess

import pytest
from instance import DATA, RULES
from tern import Action


@pytest.fixture(autouse=True)
def as_it_was(request):
    """Sources and configuration of the shared instance are put back after each test."""
    if "served" not in request.fixturenames:
        yield
        return
    served = request.getfixturevalue("served")
    kept = {path: path.read_bytes() for path in served.sources.iterdir()}
    yield
    for path in served.sources.iterdir():
        if path not in kept:
            path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def refused(served, *expected, path=None):
    """Applies what must be refused, and checks everything that goes with it."""
    before = served.generation()
    done = served.ctl("apply", path or served.config_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout + done.stderr, f"{text!r} is missing in:\n{done.stderr}"
    assert served.generation() == before
    assert served.client().decide({"ip": "192.0.2.1"}).action is Action.DENY
    row = served.history()[0]
    assert row["state"] == "failed" and row["reason"]
    return done


def line_of(path, text):
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("rule, word", [
    ("{ id: x, when: 'ip in $no_such', then: deny }", "no_such"),
    ("{ id: x, when: 'users.trusst < 1', then: deny }", "trust"),
    ("{ id: x, when: 'user == \"five\"', then: deny }", "id: x"),
    ("{ id: x, when: 'user ==', then: deny }", "id: x"),
    ("{ id: x, when: 'user == 5', then: denied }", "deny"),
    ("{ id: x, whem: 'user == 5', then: deny }", "when"),
    ("{ id: own-net, when: 'user == 5', then: deny }", "own-net"),
])
def test_broken_rules(served, rule, word):
    served.write_config(rules=RULES + f"  - {rule}\n")
    expected = word if word != "id: x" else ""
    refused(served, f"tern.yaml:{line_of(served.config_path, rule)}:", expected)


def test_not_yaml(served):
    served.config_path.write_text("tern: 1\nfields: [ {\n")
    refused(served, "tern.yaml:")


def test_all_errors_at_once(served):
    served.write_config(rules="  - { id: a, when: 'one == 1', then: deny }\n"
                              "  - { id: b, when: 'two == 1', then: deny }\n")
    refused(served, "one", "two")


def test_a_configuration_that_is_not_there(served):
    done = served.ctl("apply", served.sources / "none.yaml")
    assert done.returncode == 1 and "none.yaml" in done.stderr


def test_missing_source(served):
    (served.sources / "users.csv").unlink()
    refused(served, "users", "users.csv")


def test_source_that_may_not_be_read(make_instance):
    """Root may read everything, so as root it is nobody who tries."""
    instance = make_instance(user="nobody" if os.geteuid() == 0 else None).start()
    os.chmod(instance.sources / "users.csv", 0)
    refused(instance, "users.csv")


def test_source_that_is_a_directory(served):
    (served.sources / "users.csv").unlink()
    (served.sources / "users.csv").mkdir()
    try:
        refused(served, "users.csv")
    finally:
        (served.sources / "users.csv").rmdir()


@pytest.mark.parametrize("name, text, line", [
    ("bad-nets.txt", "192.0.2.0/24\n300.1.2.3\n", 2),
    ("bad-nets.txt", "192.0.2.0/24\n\n# c\n192.0.2.0/33\n", 4),
    ("asn.csv", "start,end,number,kind\n10.0.0.9,10.0.0.1,1,isp\n", 2),
    ("asn.csv", "start,end,number,kind\n10.0.0.1,10.0.0.9,many,isp\n", 2),
    ("users.csv", "id,trust,age_days,plan\n1,0.5,3,gold\n2,0.5,3\n", 3),
    ("users.csv", "id,trust,age_days,plan\nx,0.5,3,gold\n", 2),
])
def test_bad_rows(served, name, text, line):
    served.write_source(name, text)
    refused(served, f"{name}:{line}:")


def test_empty_source_where_rows_are_demanded(served):
    served.write_config(path=None, rules=RULES)
    text = served.config_path.read_text().replace("source: bad-nets.txt",
                                                  "source: bad-nets.txt, min_rows: 1")
    served.config_path.write_text(text)
    served.write_source("bad-nets.txt", "")
    refused(served, "bad_nets")


def test_empty_csv_has_no_header(served):
    served.write_source("users.csv", "")
    refused(served, "users.csv")


@pytest.mark.parametrize("damage", ["cut", "flipped", "not packed"])
def test_corrupt_gzip(served, damage):
    packed = bytearray(gzip.compress(b"192.0.2.0/24\n" * 5000))
    if damage == "cut":
        packed = packed[:len(packed) // 2]
    elif damage == "flipped":
        packed[len(packed) - 6] ^= 0xff # the checksum at its end
    else:
        packed = b"\x1f\x8bnothing of the kind"
    served.write_source("bad-nets.txt.gz", bytes(packed))
    served.config_path.write_text(served.config_path.read_text().replace(
        "source: bad-nets.txt", "source: bad-nets.txt.gz"))
    refused(served, "bad-nets.txt.gz")


def test_a_source_over_its_max_bytes(served):
    served.config_path.write_text(served.config_path.read_text().replace(
        "source: bad-nets.txt", "source: bad-nets.txt, max_bytes: 1KiB"))
    served.write_source("bad-nets.txt", "192.0.2.0/24\n" * 1000)
    refused(served, "bad-nets.txt", "max_bytes")


def test_a_bomb_of_zeros(served):
    """A small packed file that unpacks to far more than max_bytes costs neither memory nor minutes."""
    bomb = gzip.compress(b"\0" * (64 << 20))
    served.write_source("bad-nets.txt.gz", bomb)
    served.config_path.write_text(served.config_path.read_text().replace(
        "source: bad-nets.txt", "source: bad-nets.txt.gz, max_bytes: 8MiB"))
    refused(served, "bad-nets.txt.gz")


def test_a_line_without_end(served):
    served.write_source("bad-nets.txt", "1" * (1 << 20))
    refused(served, "bad-nets.txt:1")


def test_a_missing_column_is_placed_where_it_is_asked_for(served):
    served.write_source("users.csv", "id,trust,age_days\n1,0.5,3\n")
    refused(served, f"tern.yaml:{line_of(served.config_path, 'users:')}:", "plan")


def test_a_table_that_does_not_fit_the_arena(make_instance):
    """Refused, and the next apply that fits goes through."""
    instance = make_instance(arena="8MiB").start()
    instance.write_source("tokens.txt", "".join(f"token-{i}\n" for i in range(1_200_000)))
    refused(instance, "tokens", "arena")
    instance.write_source("tokens.txt", "gamma\n")
    assert instance.apply()["published"]
    assert instance.client().lookup("tokens", "gamma") is not None
    assert instance.client().lookup("tokens", "token-1") is None


def test_fields_are_append_only(served):
    text = served.config_path.read_text()
    served.config_path.write_text(text.replace("  host: host\n", "").replace(
        "  - { id: bad-host, when: 'host in $bad_hosts', then: deny }\n", ""))
    refused(served, "host")
    served.config_path.write_text(text.replace("  user: u64", "  user: i64"))
    refused(served, "user")
    served.config_path.write_text(text.replace("  ip: ip\n  host: host\n", "  host: host\n  ip: ip\n"))
    refused(served)


def test_failing_tests_of_the_configuration(served):
    text = served.config_path.read_text()
    served.config_path.write_text(text + "tests:\n  - { request: { ip: 10.1.2.3 }, expect: deny }\n")
    refused(served, f"tern.yaml:{line_of(served.config_path, 'expect: deny')}:")
    served.config_path.write_text(
        text + "tests:\n  - { request: { ip: 10.1.2.3 }, expect: allow, rule: own-net }\n")
    assert served.apply()["published"]


def test_too_large_a_change(served):
    served.config_path.write_text(served.config_path.read_text().replace(
        "source: bad-nets.txt", "source: bad-nets.txt, max_change: 20%"))
    served.write_source("bad-nets.txt", "".join(f"192.0.2.{i}\n" for i in range(200)))
    refused(served, "max_change", "--force-change")


def test_up_with_a_broken_configuration_ends_with_1(make_instance):
    instance = make_instance(rules="  - { id: a, when: 'nothing here', then: deny }\n").launch()
    assert instance.supervisor.wait(15) == 1
    assert "tern.yaml:" in instance.log_text()


def test_up_with_a_missing_source_ends_with_1(make_instance):
    instance = make_instance()
    (instance.sources / "users.csv").unlink()
    instance.launch()
    assert instance.supervisor.wait(15) == 1
    assert "users.csv" in instance.log_text()


def test_a_full_tmpfs_is_a_refusal(make_instance, as_root, tmp_path):
    """A small tmpfs of its own: the build does not fit, the old generation keeps serving."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        instance = make_instance(run_dir_in=str(small), arena="1GiB")
        shutil.rmtree(instance.sources)
        instance.sources = tmp_path / "sources"
        instance.sources.mkdir()
        instance.config_path = instance.sources / "tern.yaml"
        instance.write_config()
        for name, text in DATA.items():
            instance.write_source(name, text)
        instance.start()
        pid = instance.ternd_pid()
        instance.write_source("tokens.txt", "".join(f"token-{i:024d}\n" for i in range(3_000_000)))
        refused(instance, "memory")
        assert instance.ternd_pid() == pid
        problems = instance.dispose()
        assert not problems, problems
    finally:
        subprocess.run(["umount", str(small)], check=False, capture_output=True)
