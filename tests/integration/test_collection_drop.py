"""ternctl collection drop: what is stored of a collection goes only when nothing that is served has it, and after a
question; the name then begins anew."""
import contextlib
import json
import sqlite3
import subprocess

import pytest
from instance import BUILD, CONFIG, wait_until
from vectors import Vectors, await_complete, live, random_rows, write

DIM = 8
ROWS = random_rows(range(2500), DIM)


def with_collections(**collections):
    lines = "".join(f"  {name}: {{{{ {keys} }}}}\n" for name, keys in collections.items())
    return CONFIG.replace("rules:\n", f"collections:\n{lines}rules:\n" if collections else "rules:\n", 1)


def apply(instance, *arguments, **collections):
    instance.config = with_collections(**collections)
    instance.write_config()
    instance.apply(None, "--new-schema", *arguments)


def drop(instance, name, *arguments, answer="", check=0):
    done = subprocess.run([BUILD / "ternctl", "collection", "drop", name, "--run-dir", instance.run_dir, *arguments],
                          input=answer, capture_output=True, text=True, timeout=60)
    assert done.returncode == check, done.stdout + done.stderr
    return done


def test_a_collection_goes_after_its_configuration(make_instance):
    docs = f"dim: {DIM}, capacity: 10k"
    instance = make_instance(config=with_collections(kept=docs, docs=docs)).start()
    write(instance, "docs", ROWS)
    write(instance, "kept", random_rows(range(10), DIM))
    with Vectors(instance, "docs") as vectors:
        vectors.delete(list(range(100)))
    for name, message in (("docs", "is configured in generation 1"), ("kept", "is configured"),
                          ("dogs", "those that are not configured there is none")):
        assert message in drop(instance, name, "--yes", check=1).stderr
    apply(instance, kept=docs)
    generation = instance.generation()
    assert "there are: docs" in drop(instance, "dogs", check=1).stderr
    # whatever is not `yes` leaves all of it, for a rollback
    for answer in ("", "y\n", "no\n"):
        done = drop(instance, "docs", answer=answer, check=1)
        assert "2,400 vectors of collection docs" in done.stderr and "nothing is dropped" in done.stdout
    instance.ctl("rollback", "1", check=0)
    await_complete(instance, 2400)
    assert "is configured" in drop(instance, "docs", "--yes", check=1).stderr
    apply(instance, kept=docs)
    assert instance.generation() == generation + 2
    assert drop(instance, "docs", answer="yes\n").stdout == "collection docs: 2,400 vectors dropped\n"
    assert "nothing is stored of a collection 'docs'" in drop(instance, "docs", "--yes", check=1).stderr
    audit = instance.ctl("audit").stdout
    assert audit.count("collection drop docs") == 4 and "2400 vectors" in audit  # three were refused
    assert instance.generation() == generation + 2 and live(instance, "kept") == 10
    # the name begins anew, and what was does not come back, not even by a rollback
    apply(instance, kept=docs, docs=docs)
    await_complete(instance, 0)
    write(instance, "docs", {1: ROWS[1]})
    instance.stop()
    instance.start()
    await_complete(instance, 1)
    instance.ctl("rollback", "3", check=0)
    await_complete(instance, 1)
    await_complete(instance, 10, "kept")


def test_a_dropped_collection_reads_its_source_again(make_instance):
    keys = f"dim: {DIM}, capacity: 10k, source: docs.jsonl"
    instance = make_instance(config=with_collections(docs=keys))
    instance.write_source("docs.jsonl", "".join(json.dumps({"id": id, "vector": ROWS[id]}) + "\n" for id in range(50)))
    instance.start()
    await_complete(instance, 50)
    with Vectors(instance, "docs") as vectors:
        vectors.delete([0])
    apply(instance)
    done = json.loads(drop(instance, "docs", "--yes", "--json", "-m", "not used any more").stdout)
    assert done == {"collection": "docs", "vectors": 49, "dropped": True}
    apply(instance, docs=keys)
    await_complete(instance, 50)


def stored_rows(instance, name):
    """Rows of whatever kind under the name in the file itself, and whether some are still to be swept."""
    with contextlib.closing(sqlite3.connect(f"file:{instance.state_dir}/vectors.db?mode=ro", uri=True)) as store:
        number, = store.execute("SELECT number FROM collections WHERE name = ?", (name,)).fetchone()
        rows, = store.execute(f"SELECT count(*) FROM vectors_{number}").fetchone()
        marks, = store.execute("SELECT count(*) FROM dropped").fetchone()
        return rows, marks


@pytest.mark.parametrize("point", ["vectors-dropped", "vectors-swept"])
def test_a_drop_that_is_cut_short_ends_by_itself(race_instance, point):
    """tern-control dies once it is dropped, with all or some rows still there: the name begins anew at once, and the
    next tern-control sweeps them away under whatever is written meanwhile."""
    instance, docs = race_instance, f"dim: {DIM}, capacity: 10k"
    instance.config = with_collections(kept=docs, docs=docs)
    instance.write_config()
    instance.start()
    write(instance, "docs", ROWS)
    write(instance, "kept", random_rows(range(10), DIM))
    apply(instance, kept=docs)
    control = instance.control_pid()
    instance.kill_at(point)
    drop(instance, "docs", "--yes", check=3)
    instance.await_killed(point)
    instance.await_control(control)
    assert "nothing is stored of a collection 'docs'" in drop(instance, "docs", "--yes", check=1).stderr
    apply(instance, kept=docs, docs=docs)
    await_complete(instance, 0)
    write(instance, "docs", {id: ROWS[id] for id in range(20)})
    wait_until(lambda: stored_rows(instance, "docs") == (20, 0), "swept")
    await_complete(instance, 20)
    instance.stop()
    instance.start()
    await_complete(instance, 20)
    await_complete(instance, 10, "kept")
    assert instance.client().search("docs", ROWS[7], 1)[0].id == 7
