"""What all experiments share: where things are, how long they take, how runs are interleaved."""

import json
import os
import pathlib
import platform
import statistics
import subprocess

from .data import Data
from .servers import Failure, pinned


def median(values):
    return statistics.median(values) if values else float("nan")


class Bench:
    def __init__(self, root, build, folder, data_folder, rounds, small, server_cpu, client_cpu, scale=1.0):
        self.root, self.build = pathlib.Path(root), pathlib.Path(build)
        self.folder = pathlib.Path(folder)
        self.load = self.build / "tern-load"
        self.rounds = 1 if small else rounds
        self.small = small
        self.server_cpu, self.client_cpu = server_cpu, client_cpu
        self.data = Data(data_folder, 0.02 if small else scale)
        self.texts = {} # file name: what is kept beside the results
        self.seconds = 0.2 if small else 3.0
        self.warmup = 0.05 if small else 0.5

    def keys(self, full):
        return self.data.count(full)

    def measure(self, target, *arguments, server_pid=None, seconds=None, warmup=None, spin=False,
                may_fail=False):
        """One run of tern-load on the client's CPU; its JSON."""
        command = [self.load, "run", "--json", "--target", target, "--duration",
                   seconds or self.seconds, "--warmup", self.warmup if warmup is None else warmup,
                   *arguments]
        if spin:
            command.append("--spin")
        if server_pid:
            command += ["--server-pid", server_pid]
        done = subprocess.run(pinned(self.client_cpu, command), capture_output=True, text=True,
                              timeout=600)
        if done.returncode not in ((0, 1) if may_fail else (0,)):
            raise Failure(f"tern-load ended with {done.returncode}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def interleave(self, parties, rounds=None):
        """Runs every party once a round, forwards and backwards in turn (A B, B A, A B, …), so that whatever
        drifts meets all of them alike. Returns the runs by party."""
        runs = {name: [] for name in parties}
        for i in range(self.rounds if rounds is None else rounds):
            names = list(parties) if i % 2 == 0 else list(parties)[::-1]
            for name in names:
                runs[name].append(parties[name]())
        return runs

    def environment(self):
        def first(path, key=None):
            try:
                for line in open(path):
                    if key is None or line.startswith(key):
                        return line.split(":", 1)[-1].strip()
            except OSError:
                pass
            return None

        def commit():
            done = subprocess.run(["git", "-C", self.root, "rev-parse", "--short", "HEAD"],
                                  capture_output=True, text=True)
            return done.stdout.strip() or None
        return {
            "kernel": platform.release(), "machine": platform.machine(),
            "processor": first("/proc/cpuinfo", "model name"), "cpus": os.cpu_count(),
            "server_cpu": self.server_cpu, "client_cpu": self.client_cpu,
            "commit": commit(), "data": self.data.origin, "rounds": self.rounds, "small": self.small,
        }


class Result:
    """One figure: what was asked for, what was seen in every round, whether that is enough."""

    def __init__(self, name, figure, target, unit):
        self.name, self.figure, self.target, self.unit = name, figure, target, unit
        self.values = []     # of the figure itself, a round each
        self.at_most = True  # or at least
        self.limit = None    # None: shown, nothing is asked of it
        self.runs = {}
        self.notes = []

    def at_least(self, limit):
        self.at_most, self.limit = False, limit
        return self

    def no_more(self, limit):
        self.at_most, self.limit = True, limit
        return self

    @property
    def value(self):
        return median(self.values)

    @property
    def reached(self):
        if not self.values or self.value != self.value:
            return False
        if self.limit is None:
            return True
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def note(self, text):
        self.notes.append(text)

    def as_json(self):
        return {
            "name": self.name, "figure": self.figure, "target": self.target, "unit": self.unit,
            "median": self.value, "values": self.values, "limit": self.limit,
            "at_most": self.at_most, "reached": self.reached, "notes": self.notes, "runs": self.runs,
        }


def ratios(upper, lower):
    """Of runs made in the same round."""
    return [a / b for a, b in zip(upper, lower) if b]
