"""Load whose every answer is checked: tables that say in which version of the data a key is bad."""
import json
import random
import subprocess
import threading

from instance import Expired, wait_until
from tern import Action, Client, ConnectionClosed, StatusError, Timeout, Unreachable

VERSIONS = 4
KEYS = 500

RULES = """\
  - {{ id: mark, when: 'users.mark == {version}', then: deny }}
  - {{ id: next, when: 'users.mark == {after}', then: challenge }}
"""  # one record's column against two numbers that move with the version
CONFIG = """\
tern: 1
instance: test
listen: [ "tcp://127.0.0.1:{port}", "unix://{socket}" ]
workers: {workers}
arena: {arena}
fields: {{ ip: ip, user: u64 }}
tables:
  users: {{ type: exact_map, by: user, key: id, source: users-VERSION.csv, columns: {{ mark: u32 }} }}
rules:
{rules}
default: allow
"""


def expected(version, key):
    """What version `version` says about `key`. Table and rules change together, so an answer from the
    table of one and the rules of another would show."""
    mark = (key * 7 + version) % 9
    if mark == version:
        return Action.DENY
    return Action.CHALLENGE if mark == version + 1 else Action.ALLOW


def versioned(make_instance, keys=KEYS, **options):
    """An instance with a configuration and a table for each version; starts with version 0."""
    instance = make_instance(config=CONFIG.replace("VERSION", "0"),
                             rules=RULES.format(version=0, after=1), **options)
    instance.versions = []
    for version in range(VERSIONS):
        rows = "".join(f"{key},{(key * 7 + version) % 9}\n" for key in range(keys))
        instance.write_source(f"users-{version}.csv", "id,mark\n" + rows)
        path = instance.sources / f"version-{version}.yaml"
        instance.config = CONFIG.replace("VERSION", str(version))
        instance.write_config(path, rules=RULES.format(version=version, after=version + 1))
        instance.versions.append(path)
    instance.config_path = instance.versions[0]
    return instance


class Load:
    """Connections that ask all the time. `version_of` maps a generation to the version it was built
    from; answers are checked at the end, when all of it is known. With `interruptions` a lost
    connection is no problem, a wrong answer always is."""

    def __init__(self, instance, connections=2, interruptions=False, batch=8):
        self.instance, self.interruptions, self.batch = instance, interruptions, batch
        self.version_of = {}
        self.problems = []
        self.seen = []  # per connection: (generation, key, action) sets
        self.answers = 0
        self.lost, self.last_loss = 0, None
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(connections)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()
        self.generations_seen = {generation for seen in self.seen for generation, _, _ in seen}
        for generation in self.generations_seen:
            if generation not in self.version_of:
                self.problems.append(f"generation {generation} was never published")
        for seen in self.seen:
            for generation, key, action in seen:
                version = self.version_of.get(generation)
                if version is not None and expected(version, key) is not action:
                    self.problems.append(f"generation {generation} (version {version}), key {key}: "
                                         f"{action.name} instead of {expected(version, key).name}")
        self.problems = self.problems[:20]

    def publish(self, version, check=0):
        """Applies a version and notes which generation it became."""
        done = self.instance.ctl("apply", self.instance.versions[version], "--json")
        told = json.loads(done.stdout) if done.stdout.strip() else {}
        if told.get("published"):
            self.version_of[told["generation"]] = version
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return told

    def publish_in_the_background(self, version):
        return subprocess.Popen([str(self.instance.binaries / "ternctl"), "apply",
                                 str(self.instance.versions[version]), "--run-dir",
                                 str(self.instance.run_dir), "--json"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def await_answers(self, count):
        """Until so many more have come."""
        goal = self.answers + count
        try:
            wait_until(lambda: self.answers >= goal or self.problems, f"{count} more answers", 60)
        except Expired as expired:
            raise Expired(f"{expired}; {self.lost} attempts were in vain, the last: {self.last_loss!r}\n"
                          f"{self.instance.log_text()[-6000:]}") from None

    def _run(self, index):
        generator = random.Random(index)
        seen = set()
        self.seen.append(seen)
        address = self.instance.tcp if index % 2 else self.instance.unix
        client, newest = None, 0
        while not self._end.is_set():
            try:
                if client is None:
                    client, newest = Client(address, timeout=10.0), 0
                keys = [generator.randrange(KEYS) for _ in range(self.batch)]
                verdicts = client.decide([{"user": key} for key in keys])
            except (ConnectionClosed, Unreachable, Timeout) as problem:
                self.lost, self.last_loss = self.lost + 1, problem
                if not self.interruptions:
                    self.problems.append(f"connection {index}: {problem}")
                    return
                if client is not None:
                    client.close()
                client = None
                self._end.wait(0.002)
                continue
            except StatusError as problem:
                # a fresh ternd that has not prepared its first generation yet
                self.last_loss = problem
                if not (self.interruptions and problem.status.name == "NOT_READY"):
                    self.problems.append(f"connection {index}: {problem}")
                    return
                client.close()
                client = None
                continue
            for key, verdict in zip(keys, verdicts):
                seen.add((verdict.generation, key, verdict.action))
            if verdicts[0].generation < newest:
                self.problems.append(f"connection {index}: back from generation {newest} to "
                                     f"{verdicts[0].generation}")
            newest = verdicts[0].generation
            self.answers += len(verdicts)
        if client is not None:
            client.close()
