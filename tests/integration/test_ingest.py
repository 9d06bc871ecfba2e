"""ternctl ingest: files of every format into a collection and ids out of it, with real processes; whatever stops
it midway, it says exactly how far it came, and the same command finishes the work."""
import array
import gzip
import json
import os
import signal
import subprocess

import pytest
from instance import CONFIG, Refused, is_running, wait_until
from vectors import live, random_rows

DIM = 8
KEYS = "dim: {}, capacity: {}, m: 8, payload: { label: string, tenant: u32, good: bool, weight: f32 }"


def make(make_instance, capacity="20k", **options):
    keys = KEYS.replace("{}", str(DIM), 1).replace("{}", capacity, 1).replace("{", "{{").replace("}", "}}")
    config = CONFIG.replace("rules:\n", f"collections:\n  docs: {{{{ {keys} }}}}\nrules:\n", 1)
    return make_instance(config=config, **options)


def csv_text(rows, columns=True):
    if columns:
        head = ",".join(f"v{i}" for i in range(DIM))
        body = (f"{id},{','.join(map(repr, row))},word {id},{id % 7}" for id, row in rows.items())
    else:
        head = "vector"
        body = (f'{id},"{row}",word {id},{id % 7}' for id, row in rows.items())
    return f"id,{head},label,tenant\n" + "\n".join(body) + "\n"


def json_text(rows):
    return "".join(json.dumps({"id": id, "vector": row, "label": f"word {id}", "good": id % 2 == 0}) + "\n"
                   for id, row in rows.items())


def ingest(instance, name, *options, check=0):
    return instance.ctl_json("ingest", "docs", instance.sources / name, *options, check=check)


def test_every_format_arrives(make_instance):
    instance = make(make_instance).start()
    rows = random_rows(range(700), DIM)
    instance.write_source("a.csv", csv_text(rows))
    done = ingest(instance, "a.csv")
    assert done["ok"] and done["rows"] == done["written"] == 700 and done["line"] == 701 and done["seq"] >= 700
    assert live(instance) == 700
    instance.write_source("b.csv", gzip.compress(csv_text(random_rows(range(600, 1300), DIM), False).encode()))
    assert ingest(instance, "b.csv")["written"] == 700
    assert live(instance) == 1300, "an id that was there is not counted twice"
    instance.write_source("c", json_text(random_rows(range(1300, 1800), DIM)))
    assert ingest(instance, "c")["written"] == 500
    assert live(instance) == 1800
    raw = random_rows(range(300), DIM)
    instance.write_source("d.f32", b"".join(array.array("f", row).tobytes() for row in raw.values()))
    instance.write_source("d.ids", "".join(f"{2 ** 64 - 1 - id}\n" for id in raw))
    assert ingest(instance, "d.f32", "--raw", "--ids", instance.sources / "d.ids")["written"] == 300
    assert live(instance) == 2100
    # again: nothing more
    assert ingest(instance, "c")["ok"] and live(instance) == 2100
    text = instance.ctl("ingest", "docs", instance.sources / "c", check=0).stdout
    assert text.startswith("500 rows are acknowledged: ")
    # and out again, by any of them
    assert ingest(instance, "d.ids", "--delete")["removed"] == 300
    assert ingest(instance, "c", "--delete")["removed"] == 500
    assert ingest(instance, "a.csv", "--delete")["removed"] == 700
    assert ingest(instance, "a.csv", "--delete")["removed"] == 0
    assert live(instance) == 600


def test_standard_input(make_instance):
    instance = make(make_instance).start()
    text = json_text(random_rows(range(400), DIM))
    for data in (text.encode(), gzip.compress(text.encode())):
        done = subprocess.run([instance.binaries / "ternctl", "ingest", "docs", "-", "--json", "--run-dir",
                               instance.run_dir], input=data, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["written"] == 400
    assert live(instance) == 400


BAD = [
    ("{\"id\":900,\"vector\":[1,2]}", ":501:20: the vector has 2 values, the collection takes 8"),
    ("{\"id\":900,\"vector\":[1,2,3,4,5,6,7,NaN]}", ":501:35: value 7 of the vector, 'NaN', is no number"),
    ("{\"id\":900,\"vector\":[1,2,3,4,5,6,7,8],\"tenant\":-1}", ":501:47: tenant: expected a u32 number, found '-1'"),
    ("{\"id\":900,\"vector\":[1,2,3,4,5,6,7,8],\"label\":7}", ":501:46: label takes a string, not this"),
    ("{\"id\":900,\"vec", ":501:15: the line ends inside a string: is the file cut off?"),
]


@pytest.mark.parametrize("line, message", BAD)
def test_a_row_that_is_wrong_ends_it_there(make_instance, line, message):
    instance = make(make_instance).start()
    good = json_text(random_rows(range(500), DIM))
    instance.write_source("x", good + line + ("\n" + json_text(random_rows(range(1000, 1010), DIM)) if "}" in line
                                              else ""))
    done = ingest(instance, "x", check=1)
    assert not done["ok"] and done["error"] == f"{instance.sources / 'x'}{message}"
    assert done["rows"] == 500 and done["line"] == 500 and live(instance) == 500
    text = instance.ctl("ingest", "docs", instance.sources / "x", check=1)
    assert message in text.stderr and text.stdout == \
        "500 rows are acknowledged, all up to line 500; the same command may be given again\n"
    # mended, the same command finishes the work
    instance.write_source("x", good + json_text(random_rows(range(900, 910), DIM)))
    assert ingest(instance, "x")["rows"] == 510 and live(instance) == 510


def test_files_that_are_cut(make_instance):
    instance = make(make_instance).start()
    rows = random_rows(range(5000), DIM)
    packed = gzip.compress(json_text(rows).encode())
    instance.write_source("cut.gz", packed[:len(packed) // 2])
    done = ingest(instance, "cut.gz", check=1)
    assert "cut off" in done["error"] and 0 < done["rows"] < 5000 and live(instance) == done["rows"]
    instance.write_source("cut.f32", b"".join(array.array("f", row).tobytes() for row in rows.values())[:-3])
    done = ingest(instance, "cut.f32", "--raw", check=1)
    assert "cut in the middle of a vector" in done["error"] and done["rows"] == 4999 == live(instance)
    instance.write_source("cut.csv", csv_text(rows)[:-30])
    done = ingest(instance, "cut.csv", check=1)
    assert "cut off?" in done["error"] and done["rows"] == 4999


def test_what_is_not_asked_rightly(make_instance):
    instance = make(make_instance).start()
    instance.write_source("x", "id,v0\n")
    for arguments, code, message in (
            (("dogs", "x"), 1, "there is no collection 'dogs'; there are: docs"),
            (("docs", "y"), 1, "cannot open"),
            (("docs", "x"), 1, ":1:1: the header has 1 of the columns v0 to v7"),
            (("docs", "x", "--format", "xml"), 2, "--format takes csv, json, raw or ids"),
            (("docs", "x", "--ids", "y"), 2, "--ids goes with --raw"),
            (("docs", "x", "--raw", "--delete"), 2, "raw vectors have no ids"),
            (("docs", "x", "--format", "ids"), 2, "ids alone are for --delete"),
            (("docs",), 2, "ingest needs COLLECTION FILE")):
        arguments = [str(instance.sources / item) if item in "xy" else item for item in arguments]
        done = instance.ctl("ingest", *arguments)
        assert done.returncode == code and message in done.stderr, (arguments, done)
    instance.write_source("x", "id,vector,color\n1,\"1 2 3 4 5 6 7 8\",red\n")
    assert "no payload color: passed over" in instance.ctl("ingest", "docs", instance.sources / "x", check=0).stderr
    assert instance.stop() == 0
    done = instance.ctl("ingest", "docs", instance.sources / "x")
    assert done.returncode == 3 and "tern-control is not running" in done.stderr


def test_a_collection_that_is_full(make_instance):
    instance = make(make_instance, capacity="1000").start()
    instance.write_source("x", json_text(random_rows(range(1100), DIM)))
    done = ingest(instance, "x", check=1)
    assert "collection docs is full" in done["error"] and "raise its `capacity`" in done["error"]
    assert done["line"] == 768 and done["rows"] == live(instance) >= 768, "whole batches"
    instance.write_source("y", json_text(random_rows(range(1000), DIM)))
    ingest(instance, "x", "--delete")
    assert ingest(instance, "y")["ok"] and live(instance) == 1000


def begin(instance, text, *options):
    """An ingest that has been given `text` and waits for more."""
    process = subprocess.Popen([instance.binaries / "ternctl", "ingest", "docs", "-", "--json", *options, "--run-dir",
                                instance.run_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdin.write(text.encode())
    process.stdin.flush()
    return process


def test_an_interrupt_says_how_far_it_came(make_instance):
    instance = make(make_instance).start()
    text = json_text(random_rows(range(3000), DIM))
    process = begin(instance, text)
    # whole batches of 256 have left, the rest waits for its batch to be full
    wait_until(lambda: live(instance) == 3000 // 256 * 256, "what was given is there")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    done = json.loads(output)
    assert process.returncode == 1 and not done["ok"] and done["error"] == "interrupted", errors
    assert done["rows"] == done["line"] == live(instance) == 3000 // 256 * 256
    instance.write_source("x", text)
    assert ingest(instance, "x")["rows"] == live(instance) == 3000


def test_a_dead_tern_control_is_told(make_instance):
    """What was acknowledged when it died is there afterwards; the same command finishes the work."""
    instance = make(make_instance).start()
    rows = random_rows(range(4000), DIM)
    lines = json_text(rows).splitlines(keepends=True)
    process = begin(instance, "".join(lines[:2000]))
    wait_until(lambda: live(instance) >= 1000, "half of it")
    pid = instance.control_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "tern-control is dead")
    try:
        process.stdin.write("".join(lines[2000:]).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass
    process.stdin = None
    output, _ = process.communicate(timeout=60)
    done = json.loads(output)
    assert process.returncode == 3 and not done["ok"]
    assert 1000 <= done["rows"] <= 2000
    instance.await_control(pid)
    assert done["rows"] <= live(instance) <= 2000
    instance.write_source("x", "".join(lines))
    assert ingest(instance, "x")["rows"] == live(instance) == 4000


POINTS = ["vectors-committed", "vectors-applied"]


@pytest.mark.parametrize("point", POINTS)
def test_tern_control_dies_between_store_and_acknowledgement(race_instance, point):
    """Killed there again and again: nothing that was acknowledged is lost, what was not is written by the next try."""
    instance = make(lambda **options: configure(race_instance, **options)).start()
    rows = random_rows(range(1500), DIM)
    for turn in range(3):
        control = instance.control_pid()
        instance.write_source("x", json_text({id: rows[id] for id in range(500 * (turn + 1))}))
        before = live(instance)
        instance.kill_at(point)
        done = ingest(instance, "x", check=3)
        instance.await_killed(point)
        instance.await_control(control)
        assert live(instance) >= max(before, done["rows"])
        assert ingest(instance, "x")["rows"] == 500 * (turn + 1) == live(instance)
    with pytest.raises(Refused):
        instance.ctl("ingest", "docs", instance.sources / "nothing", check=0)


def configure(instance, config):
    instance.config = config
    instance.write_config()
    return instance
