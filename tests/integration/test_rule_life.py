"""What a rule can be besides live: in shadow, off, skipped over what is missing, never reached."""
from tern import Action

RULES = """\
  - { id: skips, when: 'not users.trust > 0.5', then: deny, missing: skip }
  - { id: skips-field, when: 'not path starts_with "/ok" and not exists(host)', then: deny, missing: skip }
  - { id: watched, when: 'ip in {10.0.0.0/8}', then: deny, mode: shadow }
  - { id: retired, when: 'ip in {10.0.0.0/8}', then: challenge, mode: 'off' }
  - { id: counts, when: 'not users.trust > 0.5 and path == "/absent"', then: challenge }
"""


def test_missing_and_modes(make_instance):
    instance = make_instance(rules=RULES).start()
    client = instance.client()

    def verdict(**request):
        answer = client.decide(request)
        return answer.action, client.describe().rules[answer.rule - 1].name if answer.rule else None
    # users: 1 has trust 0.9, 2 has 0.1
    assert verdict(user=1) == (Action.ALLOW, None)
    assert verdict(user=2) == (Action.DENY, "skips")
    assert verdict(user=77) == (Action.ALLOW, None), "no record: skipped, though its `not` is true"
    assert verdict() == (Action.ALLOW, None), "no field: skipped"
    assert verdict(path="/x", host="a.example") == (Action.ALLOW, None)
    assert verdict(path="/x") == (Action.ALLOW, None), "host is named, and missing"
    # without skip the same `not` holds for what is missing
    assert verdict(path="/absent") == (Action.CHALLENGE, "counts")
    assert verdict(path="/absent", user=77) == (Action.CHALLENGE, "counts")
    # shadow and off decide nothing; explain says what shadow would have done
    assert verdict(ip="10.0.0.1") == (Action.ALLOW, None)
    explained = instance.ctl("explain", "ip=10.0.0.1", check=0).stdout
    assert "watched" in explained and "shadow" in explained and "retired" not in explained

    # a change of mode is a change of one rule, effective with its generation
    instance.write_config(rules=RULES.replace("mode: shadow", "mode: live"))
    assert instance.apply()["published"]
    assert verdict(ip="10.0.0.1") == (Action.DENY, "watched")
    instance.write_config(rules=RULES.replace("mode: shadow", "mode: 'off'").replace(
        "then: challenge, mode: 'off'", "then: challenge"))
    assert instance.apply()["published"]
    assert verdict(ip="10.0.0.1") == (Action.CHALLENGE, "retired")


def test_rules_that_are_never_reached_are_warned_of(make_instance):
    instance = make_instance(rules="""\
  - { id: net, when: 'ip in {10.0.0.0/8}', then: allow }
  - { id: host, when: 'ip == 10.1.2.3 and user == 1', then: deny }
  - { id: never, when: 'user < 3 and user > 5', then: deny }
  - { id: other, when: 'ip == 11.1.2.3', then: deny }
""").start()
    done = instance.ctl("check", instance.config_path, run_dir=False)
    assert done.returncode == 0
    line = next(i for i, text in enumerate(instance.config_path.read_text().splitlines(), 1)
                if "id: host" in text)
    expected = f"tern.yaml:{line}:24: warning: rule 'host' is never reached: whatever it matches, " \
               f"rule 'net' (line {line - 1}) decides before it"
    assert expected in done.stderr and done.stderr.count("never reached") == 1
    assert "rule 'never' can never match" in done.stderr
    said = instance.ctl("apply", instance.config_path, check=0).stderr
    assert expected in said and said.count("never reached") == 1
