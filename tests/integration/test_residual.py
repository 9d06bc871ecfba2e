"""Rules whose rows do not fit into limits.rules_bytes: the same verdicts, and an operator who is told."""
import json
import random

from instance import RULES

COUNT = 600


def wide_rules():
    """Ranges that overlap everywhere, so that their rows are far larger than their text; and a path each."""
    lines = [f"  - {{ id: wide-{i}, when: 'level >= {i - COUNT} and level < {COUNT * 3 - i} and "
             f"path starts_with \"/w{i}/\"', then: {'deny' if i % 2 else 'challenge'} }}"
             for i in range(COUNT)]
    return "\n".join(lines) + "\n" + RULES


def requests():
    chance = random.Random(20260501)
    for _ in range(2000):
        i = chance.randrange(COUNT)
        request = {"path": f"/w{i}/x", "level": chance.choice([i - COUNT, COUNT * 3 - i]) + chance.randrange(-1, 2)}
        if chance.random() < 0.3:
            del request[chance.choice(["path", "level"])]
        yield request


def test_verdicts_without_room_for_rows(make_instance):
    tight = make_instance(rules=wide_rules(), max_frame="1MiB, rules_bytes: 64KiB").start()
    roomy = make_instance(rules=wide_rules()).start()
    asked = list(requests())
    told = [[(verdict.action, verdict.rule) for verdict in instance.client().decide(asked)]
            for instance in (tight, roomy)]
    assert told[0] == told[1]
    assert len(set(told[0])) > COUNT / 2

    done = tight.ctl("check", tight.config_path, run_dir=False)
    assert done.returncode == 0
    assert "is residual: asked of each candidate" in done.stderr
    assert "limits.rules_bytes is 64 KiB" in done.stderr
    assert done.stderr.count("warning") < 20

    applied = json.loads(tight.ctl("apply", tight.config_path, "--json", check=0).stdout)
    assert 0 < applied["residual_rules"] <= COUNT
    assert applied["residual_comparisons"] >= applied["residual_rules"]
    assert applied["rows_bytes"] <= 64 << 10 < applied["unfitted_rows_bytes"]
    assert any("residual" in item["message"] for item in applied["diagnostics"])
    assert "comparisons of" in tight.ctl("apply", tight.config_path, "--dry-run", check=0).stdout

    text = tight.ctl("explain", "path=/w7/x", "level=0", check=0).stdout
    assert "(residual)" in text and "wide-7" in text
    assert "(residual)" not in roomy.ctl("explain", "path=/w7/x", "level=0", check=0).stdout
