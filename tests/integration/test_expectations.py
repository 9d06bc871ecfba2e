"""The `tests:` of a configuration are asked of what was built, before anyone is told of it."""
import json

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
