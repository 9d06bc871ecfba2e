"""Attempts to get past a rule by another spelling, over a real socket: tests/data/bypass.txt."""
import collections
import ipaddress
import json
import re

import pytest
from instance import ROOT, Instance
from tern import Action

CONFIG = """\
tern: 1
instance: test
listen: [ "tcp://127.0.0.1:{port}", "unix://{socket}" ]
workers: {workers}
arena: {arena}
fields:
  path: {{ type: string, normalize: [ lower, dot_segments, percent_decode, merge_slashes, strip_query ] }}
  host: host
  ip: ip
  agent: string
tables:
  bad_hosts: {{ type: domain_set, source: bad-hosts.txt }}
  hosts: {{ type: exact_map, by: host, key: host, source: hosts.csv, columns: {{ alias: host, mark: string }} }}
rules:
{rules}
tests:
  - {{ request: {{ path: "/x/%2e%2e//Secret?" }}, expect: deny, rule: secret }}
  - {{ request: {{ host: "WWW.BÜCHER.example" }}, expect: deny, rule: bad-host }}
"""
FIXED = r"""
  - { id: raw-nul, when: 'path.raw == "/raw%00"', then: challenge }
  - { id: raw-host, when: 'host.raw == "RAW.Example.:80"', then: challenge }
  - { id: secret, when: 'path == "/secret"', then: deny }
  - { id: nul-agent, when: 'agent == "a\x00b"', then: deny }
  - { id: bad-utf8, when: 'agent == "a\xff\xfeb"', then: deny }
  - { id: bad-host, when: 'host in $bad_hosts', then: deny }
  - { id: straße, when: 'host ends_with ".straße.example"', then: deny }
  - { id: alias, when: 'hosts.alias == "XN--TDA.example"', then: deny }
""".replace("id: straße", "id: strasse")
DATA = {"bad-hosts.txt": "Bücher.example # in punycode from here on\nxn--e1afmkfd.example\nevil.example\n",
        "hosts.csv": "host,alias,mark\nÜ.example,ü.Example.,x\n"}


def unescape(text):
    return re.sub(rb"\\(?:x([0-9a-f]{2})|\\)", lambda m: bytes([int(m[1], 16)]) if m[1] else b"\\",
                  text.encode("latin-1"))


def table():
    """(kind, attempt, what rules compare), all of the file."""
    for line in (ROOT / "tests/data/bypass.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, attempt, normal = line.split("\t")
            yield kind, unescape(attempt), unescape(normal)


def literal(normal):
    """As an expression writes it, every byte but the plainest escaped."""
    return '"' + "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\x{b:02x}" for b in normal) + '"'


def rules():
    """One for each thing that rules compare; not for hosts that a rule cannot name, because they are
    no names, or would lose their end once more."""
    names, lines = {}, []
    for kind, _, normal in table():
        if (kind, normal) in names:
            continue
        if kind == "host" and (not normal.isascii() or re.search(rb"(\.|:[0-9]*)$", normal)):
            continue
        names[kind, normal] = f"{kind}-{len(names)}"
        value = normal.decode() if kind == "ip" else literal(normal)
        lines.append(f"  - {{ id: {names[kind, normal]}, when: '{kind} == {value}', then: deny }}")
    return names, "\n".join(lines) + FIXED


@pytest.fixture(scope="module")
def server():
    names, text = rules()
    instance = Instance(config=CONFIG, rules=text, data=DATA)
    try:
        yield instance.start(), names
    finally:
        problems = instance.dispose()
    assert not problems, problems


def test_every_spelling_meets_its_rule(server):
    instance, names = server
    client = instance.client()
    described = client.describe()
    met = collections.Counter()
    for kind, attempt, normal in table():
        value = str(ipaddress.ip_address(attempt.decode())) if kind == "ip" else attempt
        verdict = client.decide({kind: value})
        expected = names.get((kind, normal), "default")
        assert described.name(verdict.rule) == expected, (kind, attempt)
        met[kind] += 1
    assert met["path"] > 60 and met["host"] > 25 and met["ip"] > 5, met


def test_all_at_once_they_meet_their_rules_too(server):
    """A batch shares the space that normalizing writes to."""
    instance, names = server
    client = instance.client(instance.unix)
    described = client.describe()
    rows = [row for row in table() if row[0] != "ip"]
    verdicts = client.decide([{kind: attempt} for kind, attempt, _ in rows] * 5)
    for (kind, attempt, normal), verdict in zip(rows * 5, verdicts, strict=True):
        assert described.name(verdict.rule) == names.get((kind, normal), "default"), (kind, attempt)


@pytest.mark.parametrize("request_fields, rule", [
    ({"path": b"/raw%00"}, "raw-nul"),
    ({"path": b"/RAW%00"}, "default"),
    ({"host": b"RAW.Example.:80"}, "raw-host"),
    ({"host": b"raw.example"}, "default"),
    ({"agent": b"a\0b"}, "nul-agent"),
    ({"agent": b"a"}, "default"),
    ({"agent": b"a\xff\xfeb"}, "bad-utf8"),
    ({"host": "www.BÜCHER.example."}, "bad-host"),
    ({"host": "a.bu\u0308cher\u3002example"}, "bad-host"),
    ({"host": "ПРИМЕР.example:1"}, "bad-host"),
    ({"host": b"\xff.evil.example"}, "bad-host"),
    ({"host": b"\xc3" * 600 + b".EVIL.example"}, "bad-host"),
    ({"host": "www.STRAßE.example"}, "strasse"),
    ({"host": "ü.example"}, "alias"),
    ({"host": "xn--tda.EXAMPLE"}, "alias"),
])
def test_rules_over_other_values(server, request_fields, rule):
    instance, _ = server
    client = instance.client()
    assert client.describe().name(client.decide(request_fields).rule) == rule


def test_what_is_no_text_is_still_explained_in_json(server):
    instance, _ = server
    client = instance.client()
    for fields in ({"agent": b"a\xff\0\"\\b"}, {"path": b"/raw%00"}, {"host": b"\xc3\x28"}):
        explained = client.decide(fields, explain=True)
        assert explained["verdict"]["action"] in ("allow", "challenge", "deny")
        json.dumps(explained).encode("utf-8")
    assert "path.raw" in {lookup["field"] for lookup in client.decide({"path": "/"}, explain=True)["lookups"]}


def test_a_source_with_a_name_that_is_none_is_refused_with_its_place(make_instance):
    instance = make_instance(config=CONFIG, rules=FIXED, data=DATA).start()
    instance.write_source("bad-hosts.txt", "ok.example\nb\u00fc cher.example\n")
    done = instance.ctl("apply", instance.config_path, "--dry-run")
    assert done.returncode == 1
    assert "bad-hosts.txt:2:1: error: 'b\u00fc cher.example' is no host name" in done.stdout + done.stderr


def test_the_action_is_that_of_the_rule(server):
    instance, _ = server
    assert instance.client().decide({"path": "/%73ecret"}).action is Action.DENY
