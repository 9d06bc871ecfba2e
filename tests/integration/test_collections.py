"""The life of a collection of vectors: applied, changed in place or beside, taken over, filled again, refused;
with real processes, whatever is killed meanwhile."""
import os
import random
import shutil
import signal
import subprocess
import threading

import pytest
from instance import CONFIG, DEADLINE_S, Refused, wait_until
from tern import TernError
from vectors import NotWritten, Vectors, await_complete, collection, is_complete, random_rows, write

DIM = 16
DOCS = f"dim: {DIM}, capacity: 4k, m: 8"
ROWS = 600


def with_collections(**collections):
    """The usual configuration with these collections: a text of keys for each name."""
    lines = "".join(f"  {name}: {{ {keys} }}\n" for name, keys in collections.items())
    if not collections:
        return CONFIG
    lines = lines.replace("{", "{{").replace("}", "}}")  # it is a template
    return CONFIG.replace("rules:\n", f"collections:\n{lines}rules:\n", 1)


def make(make_instance, keys=DOCS, **options):
    return make_instance(config=with_collections(docs=keys), **options)


def apply(instance, *arguments, check=0, **collections):
    """Applies other collections; what became of each."""
    instance.config = with_collections(**collections)
    outcome = instance.apply(instance.write_config(), *arguments, check=check)
    return {item["name"]: item for item in outcome["collections"]}


def reserved_at_rest(instance):
    """What the arena reserves once nothing waits for readers any more."""
    wait_until(lambda: instance.status()["arena"]["quarantined_bytes"] == 0, "nothing in quarantine")
    return instance.status()["arena"]["reserved_bytes"]


def test_it_is_there_at_once_and_empty(make_instance):
    instance = make(make_instance).start()
    docs = collection(instance)
    assert docs["state"] == "ready" and docs["live"] == 0 and docs["capacity"] == 4000
    assert instance.status()["arena"]["reserved_bytes"] > 4000 * DIM * 4
    write(instance, "docs", random_rows(range(ROWS), DIM))
    docs = collection(instance)
    assert docs["live"] == ROWS and docs["stored_seq"] == docs["applied_seq"] >= ROWS
    assert docs["bytes"] > 0 and docs["ack_p99_us"] > 0
    text = instance.ctl("status").stdout
    assert "600" in text and "4,000" in text and "reserved for collections" in text
    with pytest.raises(NotWritten, match="no collection"):
        Vectors(instance, "dosc")


def test_how_it_is_searched_changes_in_place(make_instance):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    reserved = reserved_at_rest(instance)
    generation = instance.generation()
    changed = apply(instance, docs=DOCS + ", ef_search: 100, ef_construct: 200, full_scan_vectors: 0")
    assert changed["docs"]["change"] == "adjusted"
    assert instance.generation() == generation + 1
    assert collection(instance)["live"] == ROWS
    assert reserved_at_rest(instance) == reserved
    assert apply(instance, docs=DOCS + ", ef_search: 100, ef_construct: 200, full_scan_vectors: 0")["docs"][
        "change"] == "same"
    write(instance, "docs", random_rows(range(ROWS, ROWS + 50), DIM))
    assert collection(instance)["live"] == ROWS + 50


@pytest.mark.parametrize("keys", [DOCS.replace("m: 8", "m: 12"), DOCS + ", metric: l2", DOCS + ", quantize: none",
                                  DOCS.replace("4k", "6k"), DOCS + ", payload: { label: string }"])
def test_its_shape_changes_beside_it(make_instance, keys):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    before = reserved_at_rest(instance)
    changed = apply(instance, "--dry-run", docs=keys)["docs"]
    assert changed["change"] == "rebuilt" and collection(instance)["live"] == ROWS
    assert reserved_at_rest(instance) == before, "a dry run reserves nothing"
    changed = apply(instance, docs=keys)["docs"]
    assert changed["change"] == "rebuilt" and changed["vectors"] == ROWS
    assert collection(instance)["live"] == ROWS
    after = reserved_at_rest(instance)
    assert after == changed["reserved_bytes"], "the one before has been given back"
    write(instance, "docs", random_rows(range(ROWS, ROWS + 10), DIM))
    assert collection(instance)["live"] == ROWS + 10
    # and back: what was written meanwhile is there as well
    instance.ctl("rollback", check=0)
    await_complete(instance, ROWS + 10)
    assert reserved_at_rest(instance) == before


def test_a_reader_that_stands_still_keeps_the_one_before(make_instance):
    """A ternd that is stopped quarantines the old object; what is published goes on."""
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    pid = instance.ternd_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        apply(instance, docs=DOCS.replace("m: 8", "m: 6"), check=4)
        assert collection(instance)["live"] == ROWS
        arena = instance.status()["arena"]
        assert arena["quarantined_bytes"] > ROWS * DIM * 4
        if arena["collections_huge_bytes"] == 0:
            assert arena["quarantined_bytes"] < 1 << 20, "its memory, not its address space"
        assert sum(arena[f"{part}_bytes"] for part in ("used", "reserved", "quarantined", "free")) == arena["bytes"]
    finally:
        os.kill(pid, signal.SIGCONT)
    reserved_at_rest(instance)
    wait_until(lambda: instance.status()["dataplane"]["generation"] == instance.generation(), "it has caught up")


class Meanwhile:
    """What `_run` does in a thread, until a `with` block sets `end`."""

    def __init__(self):
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


class Writing(Meanwhile):
    """Somebody who writes one vector after the other, through restarts of tern-control, and keeps count."""

    def __init__(self, instance, first):
        self.instance, self.next = instance, first
        self.acknowledged, self.problems = 0, []
        super().__init__()

    def _run(self):
        generator = random.Random(self.next)
        vectors = None
        while not self.end.is_set():
            try:
                vectors = vectors or Vectors(self.instance, "docs")
                vectors.upsert({self.next: [generator.gauss(0, 1) for _ in range(DIM)]})
                self.acknowledged += 1
                self.next += 1
            except NotWritten as problem:  # tern-control is away, or starting: again
                self.problems.append(str(problem))
                if vectors:
                    vectors.close()
                vectors = None
                self.end.wait(0.01)
        if vectors:
            vectors.close()


class Searching(Meanwhile):
    """Somebody who asks for vectors that are there, and expects to find them, all the time."""

    def __init__(self, instance, rows):
        self.client, self.rows = instance.client(), rows
        self.found, self.problems = 0, []
        super().__init__()

    def _run(self):
        generator = random.Random(7)
        ids = list(self.rows)
        while not self.end.is_set() and len(self.problems) < 10:
            identifier = generator.choice(ids)
            try:
                hits = self.client.search("docs", self.rows[identifier], 3)
            except TernError as problem:
                self.problems.append(repr(problem))
                continue
            if not hits or hits[0].id != identifier:
                self.problems.append((identifier, hits))
            self.found += 1

    def await_more(self):
        before = self.found
        wait_until(lambda: self.found > before + 20 or self.problems, "searches go on")


def test_searches_are_answered_whatever_becomes_of_it(make_instance):
    """Through changes in place and beside, refusals, the death of tern-control, and a rollback."""
    instance = make(make_instance).start()
    rows = random_rows(range(ROWS), DIM)
    write(instance, "docs", rows)
    with Searching(instance, rows) as searching:
        searching.await_more()
        for keys in (DOCS + ", ef_search: 200", DOCS.replace("m: 8", "m: 6"), DOCS + ", quantize: none",
                     DOCS + ", full_scan_vectors: 1k, payload: { label: string }"):
            apply(instance, docs=keys)
            searching.await_more()
            instance.kill_control()
            searching.await_more()
        with pytest.raises(Refused):
            apply(instance, docs=DOCS.replace("4k", "100"))
        instance.ctl("rollback", "--rules-only", check=None)
        instance.ctl("rollback", check=0)
        searching.await_more()
    assert searching.problems == []
    reserved_at_rest(instance)


def test_what_else_is_published_leaves_it_alone(make_instance):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    reserved = reserved_at_rest(instance)
    instance.config = with_collections(docs=DOCS).replace("source: tokens.txt", "source: tokens.txt, refresh: 20ms")
    instance.apply(instance.write_config())
    generation = instance.generation()
    instance.write_source("tokens.txt", "gamma\n")
    wait_until(lambda: instance.generation() > generation, "the source's change is published")
    assert instance.history()[0]["kind"] == "refresh"
    write(instance, "docs", random_rows(range(ROWS, ROWS + 5), DIM))
    assert is_complete(instance, ROWS + 5) and reserved_at_rest(instance) == reserved
    instance.kill_control()
    assert is_complete(instance, ROWS + 5) and reserved_at_rest(instance) == reserved


def test_writes_go_on_while_it_is_rebuilt(make_instance):
    instance = make(make_instance, DOCS.replace("4k", "40k")).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    with Writing(instance, ROWS) as writing:
        for links in (6, 10, 4, 8):
            before = writing.acknowledged
            assert apply(instance, docs=f"dim: {DIM}, capacity: 40k, m: {links}")["docs"]["change"] == "rebuilt"
            wait_until(lambda: writing.acknowledged > before + 20, "writes go on")
    assert writing.problems == []
    assert collection(instance)["live"] == ROWS + writing.acknowledged


def test_nothing_acknowledged_is_lost_by_kills_and_changes(make_instance):
    instance = make(make_instance, DOCS.replace("4k", "40k")).start()
    ternd = instance.ternd_pid()
    generator = random.Random(3)
    with Writing(instance, 0) as writing:
        for turn in range(6):
            path = instance.sources / f"change-{turn}.yaml"
            instance.config = with_collections(docs=f"dim: {DIM}, capacity: 40k, m: {4 + turn}")
            changing = subprocess.Popen([str(instance.binaries / "ternctl"), "apply", str(instance.write_config(path)),
                                         "--run-dir", str(instance.run_dir)], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
            writing.end.wait(generator.random() * 0.05)  # where in the change it dies is chance
            instance.kill_control()
            changing.wait(DEADLINE_S)
            before = writing.acknowledged
            wait_until(lambda: writing.acknowledged > before + 20, "writes go on")
    # one that was not acknowledged may have been written all the same
    wait_until(lambda: collection(instance)["state"] == "ready", "complete")
    assert writing.acknowledged <= collection(instance)["live"] <= writing.acknowledged + 1
    assert instance.ternd_pid() == ternd and instance.answers()
    reserved = {item["reserved_bytes"] for item in apply(instance, docs=DOCS.replace("4k", "40k")).values()}
    assert {reserved_at_rest(instance)} == reserved, "nothing of what was not finished is left"


def test_ids_are_kept_unless_that_is_meant(make_instance):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(20), DIM))
    for keys in ({}, {"other": DOCS}, {"docs": DOCS.replace(f"dim: {DIM}", "dim: 8")}):
        with pytest.raises(Refused, match="collection 1 was `docs` \\(16 dimensions\\)"):
            apply(instance, **keys)
    assert collection(instance)["live"] == 20
    assert apply(instance, docs=DOCS, other=DOCS)["other"]["change"] == "added"
    write(instance, "other", random_rows(range(30), DIM))
    apply(instance, "--new-schema", other=DOCS)
    assert collection(instance) is None and collection(instance, "other")["live"] == 30
    with pytest.raises(NotWritten):
        Vectors(instance, "docs")
    # what was written under a name is there again when the name is
    apply(instance, "--new-schema", docs=DOCS, other=DOCS)
    await_complete(instance, 20)
    await_complete(instance, 30, "other")


def test_another_dimension_begins_empty(make_instance):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(20), DIM))
    apply(instance, "--new-schema", docs=DOCS.replace(f"dim: {DIM}", "dim: 8"))
    await_complete(instance, 0)
    write(instance, "docs", random_rows(range(100, 105), 8))
    assert collection(instance)["live"] == 5


def test_tern_control_comes_back_to_it(make_instance):
    instance = make(make_instance).start()
    rows = random_rows(range(ROWS), DIM)
    write(instance, "docs", rows)
    reserved = reserved_at_rest(instance)
    generation = instance.generation()
    for _ in range(3):
        instance.kill_control()
        assert is_complete(instance, ROWS)
        write(instance, "docs", {5: rows[6]})
    assert instance.generation() == generation and reserved_at_rest(instance) == reserved


def test_a_lost_arena_is_filled_from_the_store(make_instance):
    """A reboot: tmpfs is empty, the state directory is there."""
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    instance.start()
    await_complete(instance, ROWS)
    write(instance, "docs", random_rows(range(ROWS, ROWS + 10), DIM))
    assert collection(instance)["live"] == ROWS + 10
    # likewise when a source is gone, and the last good generation is restored
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    (instance.sources / "users.csv").unlink()
    instance.start()
    await_complete(instance, ROWS + 10)
    assert instance.history()[0]["kind"] == "restore"


def test_what_does_not_fit_is_refused_and_leaves_nothing(make_instance):
    instance = make(make_instance, arena="32MiB").start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    before = reserved_at_rest(instance)
    generation = instance.generation()
    with pytest.raises(Refused, match="capacity"):
        apply(instance, docs=DOCS.replace("4k", "100"))
    with pytest.raises(Refused, match="does not fit 'arena'"):
        apply(instance, docs=DOCS.replace("4k", "1M"))
    # the arena keeps the size that it was made with
    instance.options["arena"] = "1GiB"
    with pytest.raises(Refused, match="collection docs: needs [0-9]+ bytes of the arena"):
        apply(instance, docs=DOCS.replace("4k", "1M"))
    assert instance.generation() == generation and is_complete(instance, ROWS)
    assert reserved_at_rest(instance) == before
    assert instance.answers()


def test_a_full_tmpfs_is_an_error(make_instance, as_root, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], capture_output=True,
                             text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        instance = make(make_instance, keys="dim: 512, capacity: 100k, m: 8", arena="1GiB", run_dir_in=str(small))
        instance.state_dir = tmp_path / "state"  # what is stored has room: the index has none
        instance.state_dir.mkdir()
        instance.start()
        rows = random_rows(range(200), 512)
        written = 0
        with pytest.raises(NotWritten) as refused:
            for turn in range(100):
                write(instance, "docs", {turn * 200 + k: row for k, row in rows.items()})
                written += 200
        assert "memory" in str(refused.value) or "space" in str(refused.value)
        assert written > 0 and instance.answers(), "everything else goes on"
        assert collection(instance)["live"] >= written
        with pytest.raises(Refused, match="shared memory|space"):
            apply(instance, docs="dim: 512, capacity: 100k, m: 12")
        assert collection(instance)["live"] >= written and instance.answers()
        assert instance.dispose() == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False, capture_output=True)


def test_without_its_store_everything_else_goes_on(make_instance):
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    assert instance.stop() == 0
    for path in instance.state_dir.glob("vectors.db*"):
        path.unlink()
    (instance.state_dir / "vectors.db").write_bytes(b"no database" * 1000)
    instance.start()
    assert instance.answers()
    assert "vectors cannot be written" in instance.log_text()
    apply(instance, docs=DOCS)  # as it is served
    with pytest.raises(Refused, match="collection other: "):
        apply(instance, docs=DOCS, other=DOCS)
    with pytest.raises(NotWritten):
        Vectors(instance, "docs")


def test_a_store_that_is_new_means_an_index_that_is_new(make_instance):
    """Another store knows nothing of what the arena holds: the index follows the store."""
    instance = make(make_instance).start()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    assert instance.stop() == 0
    for path in instance.state_dir.glob("vectors.db*"):
        path.unlink()
    instance.start()
    await_complete(instance, 0)
    write(instance, "docs", random_rows(range(10), DIM))
    assert collection(instance)["live"] == 10


def test_two_ternds_and_a_late_one(make_instance):
    instance = make(make_instance).start()
    second = instance.start_process("ternd")
    wait_until(lambda: len(instance.status()["seats"]) == 2, "a second seat")
    write(instance, "docs", random_rows(range(ROWS), DIM))
    instance.config = with_collections(docs=DOCS.replace("m: 8", "m: 6"))
    outcome = instance.apply(instance.write_config())
    assert outcome["acknowledged"] and [seat["answer"] for seat in outcome["seats"]] == ["ready", "ready"]
    reserved_at_rest(instance)
    third = instance.start_process("ternd")
    generation = instance.generation()
    wait_until(lambda: [seat["generation"] for seat in instance.status()["seats"]] == 3 * [generation],
               "all three serve it")
    assert second.poll() is None and third.poll() is None


POINTS = ["collection-reserved", "collection-prepared", "publish-built", "publish-announced", "publish-swapping",
          "publish-swapped", "collections-committing", "archive-listed"]


@pytest.mark.parametrize("point", POINTS)
def test_tern_control_dies_at_each_step_of_a_change(make_instance, race_instance, point):
    """Killed there, started again: one of the two objects serves, whole, and the other is given back."""
    instance = race_instance
    instance.config = with_collections(docs=DOCS)
    instance.write_config()
    instance.start()
    control, ternd = instance.control_pid(), instance.ternd_pid()
    write(instance, "docs", random_rows(range(ROWS), DIM))
    instance.kill_at(point)
    with pytest.raises((Refused, ValueError)):
        apply(instance, docs=DOCS.replace("m: 8", "m: 6").replace("4k", "5k"))
    instance.await_killed(point)
    instance.await_control(control)
    await_complete(instance, ROWS)
    docs = collection(instance)
    assert docs["capacity"] in (4000, 5000)
    assert instance.answers() and instance.ternd_pid() == ternd
    write(instance, "docs", random_rows(range(ROWS, ROWS + 10), DIM))
    for keys in (DOCS.replace("4k", "3k"), DOCS):
        changed = apply(instance, docs=keys)["docs"]
        assert changed["vectors"] == ROWS + 10
        assert reserved_at_rest(instance) == changed["reserved_bytes"]
    assert is_complete(instance, ROWS + 10)


# First load

def csv(rows, header="id,vector,label"):
    return header + "\n" + "".join(
        f'{identifier},"{" ".join(f"{value:.6f}" for value in values)}",row {identifier}\n'
        for identifier, values in rows.items())


SOURCED = DOCS + ", payload: { label: string }, source: docs.csv"


def test_its_first_vectors_come_from_its_source(make_instance):
    instance = make(make_instance, SOURCED, data={"docs.csv": csv(random_rows(range(ROWS), DIM))}).start()
    await_complete(instance, ROWS)
    assert f"{ROWS} vectors loaded from" in instance.log_text()
    # read once: neither an apply, nor a restart, nor another file brings them again
    write(instance, "docs", random_rows(range(ROWS, ROWS + 10), DIM))
    instance.write_source("docs.csv", csv(random_rows(range(5000, 5100), DIM)))
    apply(instance, docs=SOURCED)
    instance.kill_control()
    apply(instance, docs=SOURCED.replace("m: 8", "m: 6"))
    assert collection(instance)["live"] == ROWS + 10
    # of a collection that has something already, no source is read
    apply(instance, docs=SOURCED, other=DOCS)
    write(instance, "other", random_rows(range(3), DIM))
    apply(instance, docs=SOURCED, other=DOCS + ", source: docs.csv")
    assert collection(instance, "other")["live"] == 3


def test_a_bad_source_is_refused_with_its_places(make_instance):
    text = csv(random_rows(range(50), DIM))
    instance = make_instance(data={"docs.csv": text}).start()
    generation = instance.generation()
    lines = text.splitlines()
    lines[7] = "7,1 2 3,short"
    lines[20] = "x" + lines[20]
    instance.write_source("docs.csv", "\n".join(lines) + "\n")
    instance.config = with_collections(docs=SOURCED)
    done = instance.ctl("apply", instance.write_config())
    assert done.returncode == 1 and "2 bad rows" in done.stderr
    assert "docs.csv:8:" in done.stderr and "docs.csv:21:" in done.stderr
    assert instance.generation() == generation and collection(instance) is None
    instance.write_source("docs.csv", text)
    with pytest.raises(Refused, match="more than its capacity"):
        apply(instance, docs=SOURCED.replace("4k", "40"))
    with pytest.raises(Refused, match="nodocs.csv"):
        apply(instance, docs=SOURCED.replace("docs.csv", "nodocs.csv"))
    assert instance.generation() == generation
    assert apply(instance, docs=SOURCED)["docs"]["change"] == "added"
    assert is_complete(instance, 50)


@pytest.mark.parametrize("point", ["load-begun", "vectors-committed", "load-complete"])
def test_a_load_that_is_cut_short_is_done_again(make_instance, race_instance, point):
    instance = race_instance
    instance.write_source("docs.csv", csv(random_rows(range(3000), DIM)))
    instance.start()
    control = instance.control_pid()
    instance.kill_at(point)
    with pytest.raises((Refused, ValueError)):
        apply(instance, docs=SOURCED)
    instance.await_killed(point)
    instance.await_control(control)
    await_complete(instance, 3000)
    assert instance.answers()
