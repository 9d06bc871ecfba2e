"""Regular expressions, contains and pattern sets through the processes: verdicts, refusals with their place,
sharing of what is compiled, restarts."""
import json
import os
import signal

import pytest
from instance import CONFIG, wait_until
from tern import Action, Status, StatusError

WITH_PATTERNS = CONFIG.replace("  flag: bool\n", "  flag: bool\n  agent: string\n").replace(
    "rules:\n", "  crawlers: {{ type: pattern_set, source: crawlers.txt }}\nrules:\n")

CRAWLERS = "# who says who it is\nGooglebot\\/\n[wW]get\n(?i)spider\n\\bbot$\n"

RULES = """\
  - { id: own-net, when: 'ip in {10.0.0.0/8}', then: allow }
  - { id: crawler, when: 'agent matches $crawlers and not ip in $bad_nets', then: challenge }
  - { id: dots, when: 'path contains "../" or path contains "..;" or path matches r"%2e%2e"', then: deny }
  - { id: old, when: 'agent matches r"^Mozilla/[1-4]\\." and not agent contains "compatible"', add: 4 }
  - { id: shadowed, when: 'agent contains "curl"', then: deny, mode: shadow }
"""

VERDICTS = [
    ({"agent": "x Googlebot/2.1"}, Action.CHALLENGE, "crawler"),
    ({"agent": "Wget/1.20"}, Action.CHALLENGE, "crawler"),
    ({"agent": "BaiduSPIDER"}, Action.CHALLENGE, "crawler"),
    ({"agent": "a bot"}, Action.CHALLENGE, "crawler"),
    ({"agent": "a robot"}, Action.ALLOW, "default"),
    ({"agent": "Wget/1.20", "ip": "10.1.1.1"}, Action.ALLOW, "own-net"),
    ({"agent": "Wget/1.20", "ip": "192.0.2.9"}, Action.ALLOW, "default"),
    ({"path": "/a/../b"}, Action.DENY, "dots"),
    ({"path": "/a..;/b"}, Action.DENY, "dots"),
    ({"path": "/%2e%2e/b"}, Action.DENY, "dots"),
    ({"path": "/a/b"}, Action.ALLOW, "default"),
    ({"agent": "Mozilla/4.0 (X11)"}, Action.CHALLENGE, "default"),
    ({"agent": "Mozilla/4.0 (compatible)"}, Action.ALLOW, "default"),
    ({"agent": "curl/8"}, Action.ALLOW, "default"),
    ({"agent": ""}, Action.ALLOW, "default"),
    ({"agent": "bot" * 2700 + " bot"}, Action.CHALLENGE, "crawler"),
    ({}, Action.ALLOW, "default"),
]


@pytest.fixture
def instance(make_instance):
    return make_instance(config=WITH_PATTERNS, rules=RULES, data={"crawlers.txt": CRAWLERS}).start()


def check(instance):
    client = instance.client()
    names = client.describe()
    for (request, action, rule), verdict in zip(VERDICTS, client.decide([r for r, _, _ in VERDICTS])):
        assert (verdict.action, names.name(verdict.rule)) == (action, rule), request


def test_verdicts_and_explanations(instance):
    check(instance)
    text = instance.ctl("explain", "agent=Wget/1", check=0).stdout
    assert "agent matches $crawlers" in text and "scan" in text
    text = instance.ctl("explain", "agent=Wget/1", "ip=10.0.0.1", check=0).stdout
    assert "match, not needed" in text
    told = instance.ctl_json("explain", "agent=Wget/1", "ip=10.0.0.1")
    scans = [one for one in told["lookups"] if one["kind"] == "scan"]
    assert [one["needed"] for one in scans] == [False] * len(scans)
    with pytest.raises(StatusError) as refusal:
        instance.client().lookup("crawlers", "Wget")
    assert refusal.value.status == Status.UNSUPPORTED


def test_rules_around_the_same_patterns_share_them(instance):
    before = instance.apply()
    more = RULES.replace("  - { id: crawler", "  - { id: level, when: 'level == 7', then: deny }\n  - { id: crawler")
    instance.options["rules"] = more
    instance.write_config()
    after = instance.apply()
    assert after["shared_bytes"] > after["new_bytes"] > 0
    assert instance.client().decide({"level": 7}).action == Action.DENY
    check(instance)
    # other patterns are compiled, and what they decide is new
    instance.write_source("crawlers.txt", CRAWLERS + "robot\n")
    changed = instance.apply()
    assert changed["new_bytes"] > after["new_bytes"] and changed["generation"] > before["generation"]
    assert instance.client().decide({"agent": "a robot"}).action == Action.CHALLENGE


@pytest.mark.parametrize("line, reason", [
    ("(open", "Missing close parenthesis"),
    ("(a)\\1", "Back-references are unsupported"),
    ("x*", "it matches the empty string"),
    ("((ab{0,99}c){9,99}d){9,99}e", "Bounded repeat is too large"),
])
def test_patterns_that_are_not_taken(instance, line, reason):
    generation = instance.generation()
    instance.write_source("crawlers.txt", CRAWLERS + line + "\n")
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode == 1
    assert "crawlers.txt:6:1: error: hyperscan does not take" in done.stderr and reason in done.stderr
    assert instance.generation() == generation
    check(instance)


def test_patterns_survive_deaths(instance):
    for which in ("ternd_pid", "control_pid"):
        before = getattr(instance, which)()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: (instance.try_status() or {}).get("dataplane", {}).get("pid") and
                   getattr(instance, which)() != before, f"another {which}")
        wait_until(instance.answers, "answers again")
        check(instance)
    # and a restart of all, from the sections that were kept, without the source
    assert instance.stop() == 0
    (instance.sources / "crawlers.txt").unlink()
    instance.start()
    check(instance)
    assert json.loads(instance.ctl("status", "--json", check=0).stdout)["generation"] > 0
