"""The `tests:` of a configuration are asked of what was built, before anyone is told of it."""
import json
import os

from instance import CONFIG
from tern import Action

TESTS = """\
tests:
  - { request: { ip: 10.1.2.3 }, expect: allow, rule: own-net }
  - { request: { ip: 192.0.2.9, host: BAD.example. }, expect: deny, rule: bad-net }
  - { request: { path: /../x.php }, expect: deny }
  - { request: { user: 2, path: /login }, expect: challenge, rule: low-trust }
"""
WITH_TESTS = CONFIG + TESTS.replace("{", "{{").replace("}", "}}")  # the Instance formats it


def line_of(path, text):
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def rewritten(instance, old, new):
    text = instance.config_path.read_text()
    assert text.count(old) == 1
    instance.config_path.write_text(text.replace(old, new))


def test_what_holds_is_published(make_instance):
    instance = make_instance(config=WITH_TESTS)
    instance.start()
    assert instance.client().decide({"path": "/../x.php"}).action is Action.DENY


def test_a_wrong_answer_is_refused_at_its_place(make_instance):
    instance = make_instance(config=WITH_TESTS)
    instance.start()
    before = instance.generation()
    rewritten(instance, "expect: challenge, rule: low-trust", "expect: deny, rule: low-trust")
    rewritten(instance, "expect: allow, rule: own-net", "expect: allow, rule: bad-net")
    for options in ([], ["--dry-run"]):
        done = instance.ctl("apply", instance.config_path, *options)
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert f"tern.yaml:{line_of(instance.config_path, 'user: 2')}:" in said
        assert "expected deny by low-trust, the answer is challenge by low-trust" in said
        assert f"tern.yaml:{line_of(instance.config_path, '10.1.2.3')}:" in said
        assert "2 of 4 tests" in said
    assert instance.generation() == before
    assert "tests" in instance.history()[0]["reason"]
    rewritten(instance, "expect: deny, rule: low-trust", "expect: challenge, rule: low-trust")
    rewritten(instance, "expect: allow, rule: bad-net", "expect: allow, rule: own-net")
    assert json.loads(instance.ctl("apply", instance.config_path, "--json").stdout)["published"]


def test_ternctl_test_needs_no_tern(make_instance):
    """Passing, failing with its place, request and reason, broken; nothing is left in /dev/shm."""
    instance = make_instance(config=WITH_TESTS)  # never started
    before = set(os.listdir("/dev/shm"))

    def run(*options):
        return instance.ctl("test", instance.config_path, *options, run_dir=False)
    done = run()
    assert done.returncode == 0 and "4 tests passed" in done.stdout
    told = json.loads(run("--json").stdout)
    assert told["ok"] and (told["passed"], told["failed"]) == (4, 0)
    assert told["results"][1]["got"] == {"action": "deny", "rule": "bad-net", "score": 1}

    rewritten(instance, "expect: challenge, rule: low-trust", "expect: deny, rule: bad-host")
    rewritten(instance, "path: /../x.php }", "path: \"/it's here\" }")
    done = run()
    assert done.returncode == 1
    line = line_of(instance.config_path, "user: 2")
    assert f"tern.yaml:{line}:5: failed: expected deny by bad-host, got challenge by low-trust" in done.stdout
    assert "user=2 path=/login" in done.stdout and r"path='/it'\''s here'" in done.stdout
    assert "2 of 4 tests failed" in done.stdout and "--explain" in done.stdout
    explained = run("--explain")
    assert explained.returncode == 1 and "users.trust < 0.2" in explained.stdout
    told = json.loads(run("--json", "--explain").stdout)
    assert not told["ok"] and (told["passed"], told["failed"]) == (2, 2)
    wrong = [result for result in told["results"] if not result["passed"]]
    assert wrong[1]["line"] == line and wrong[1]["request"] == {"user": "2", "path": "/login"}
    assert wrong[1]["expected"] == {"action": "deny", "rule": "bad-host"}
    assert wrong[1]["explanation"]["verdict"]["rule"] == 5

    instance.write_source("users.csv", "id,trust,age_days,plan\n1,not a number,1,x\n")
    done = run()
    assert done.returncode == 1 and "users.csv:2" in done.stderr
    rewritten(instance, "users.trust < 0.2", "users.trust <")
    done = run()
    assert done.returncode == 1 and "tern.yaml:" in done.stderr
    assert json.loads(run("--json").stdout)["diagnostics"]
    assert {name for name in os.listdir("/dev/shm") if name.startswith("tern-hidden-")} <= before
