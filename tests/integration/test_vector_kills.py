"""tern-control killed at random instants while vectors are written and searched: no search fails, nothing that was
acknowledged is lost or comes back, and the store says the same once the arena is gone.

TERN_KILLS=1000 takes its time; the seed is printed with a failure."""
import os
import random
import shutil
import threading

from instance import CONFIG, wait_until
from vector_kills import Searcher, Writer, inspect
from vectors import collection

DIM, IDS = 12, 400
KILLS = int(os.environ.get("TERN_KILLS", "8"))
SEED = int(os.environ.get("TERN_SEED", "20240917"))
KEYS = "{{ dim: 12, capacity: 5k, m: 8, full_scan_vectors: 0, payload: {{ version: u64 }} }}"


def test_nothing_that_was_acknowledged_is_lost(make_instance):
    instance = make_instance(config=CONFIG.replace("rules:\n", f"collections:\n  docs: {KEYS}\nrules:\n", 1)).start()
    writer, searcher = Writer(instance, IDS, DIM, SEED), Searcher(instance, IDS, DIM, SEED)
    generator = random.Random(SEED + 2)
    writer.start()
    wait_until(lambda: writer.acknowledged > 50 or writer.failure, "writing has begun")
    searcher.start()
    for _ in range(KILLS):
        acknowledged = writer.acknowledged
        wait_until(lambda before=acknowledged: writer.acknowledged > before + generator.randrange(40)
                   or writer.failure, "it writes again")
        threading.Event().wait(generator.random() * 0.05) # a random instant, not a condition
        instance.kill_control()
    writer.done.set()
    writer.join(60)
    searcher.done.set()
    searcher.join(60)
    assert writer.failure is None and not writer.is_alive(), writer.failure
    assert searcher.failures == [] and searcher.searches > KILLS
    assert writer.broken >= KILLS
    wait_until(lambda: collection(instance)["state"] == "ready", "it is current")
    assert inspect(instance, writer)[1] == [], f"seed {SEED}"
    # the arena is gone: what the store says
    assert instance.stop() == 0
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()
    instance.start()
    wait_until(lambda: collection(instance)["state"] == "ready", "filled again")
    assert inspect(instance, writer)[1] == [], f"seed {SEED}"
