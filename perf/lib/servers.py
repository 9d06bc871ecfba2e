"""The servers under measurement: started on their CPU, stopped by their own process, never by name."""

import getpass
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

START_SECONDS = 120


class Failure(Exception):
    """An experiment could not be done; the message says why."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def pinned(cpu, command):
    """The command, kept on one CPU (and its children with it)."""
    return [str(part) for part in (["taskset", "-c", cpu] if cpu is not None else []) + command]


def wait_until(condition, seconds, what):
    limit = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > limit:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.005)


def stop(process, seconds=20):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Echo:
    """The raw echo server of tern-load."""

    def __init__(self, bench, backend, transport="tcp"):
        listen = "tcp://127.0.0.1:0" if transport == "tcp" else f"unix://{bench.folder}/echo.sock"
        self.process = subprocess.Popen(
            pinned(bench.server_cpu, [bench.load, "echo", "--listen", listen, "--backend", backend,
                                      "--spin-us", "50"]),
            stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if not words or words[0] != "ready":
            raise Failure(f"the {backend} echo server did not start")
        self.address, self.pid = words[1], self.process.pid

    def close(self):
        stop(self.process)
        self.process.stdout.close()


class Redis:
    """redis-server with nothing written to disk, filled with the keys that tern-load gets."""

    def __init__(self, bench, transport="tcp", keys=100_000):
        folder = bench.folder / f"redis-{transport}"
        folder.mkdir(exist_ok=True)
        port = free_port() if transport == "tcp" else 0
        path = folder / "redis.sock"
        self.address = f"tcp://127.0.0.1:{port}" if transport == "tcp" else f"unix://{path}"
        self.process = subprocess.Popen(
            pinned(bench.server_cpu, ["redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket",
                                      path, "--save", "", "--appendonly", "no", "--maxclients", 15_000,
                                      "--dir", folder]),
            stdout=subprocess.DEVNULL)
        self.pid = self.process.pid

        def answers():
            if self.process.poll() is not None:
                raise Failure("redis-server did not start")
            return path.exists()
        wait_until(answers, START_SECONDS, "redis-server")
        self.keys = ["--keys", keys]
        subprocess.run([bench.load, "fill", "--protocol", "resp", "--target", self.address, "--keys", str(keys)],
                       check=True, stdout=subprocess.DEVNULL)

    def close(self):
        stop(self.process)


class Memcached:
    """memcached with one thread, filled with the keys that tern-load gets."""

    def __init__(self, bench, transport="tcp", keys=100_000):
        port = free_port()
        path = bench.folder / "memcached.sock"
        where = ["-l", "127.0.0.1", "-p", port] if transport == "tcp" else ["-s", path]
        self.address = f"tcp://127.0.0.1:{port}" if transport == "tcp" else f"unix://{path}"
        self.process = subprocess.Popen(
            pinned(bench.server_cpu, ["memcached", "-t", "1", "-m", "256", "-U", "0", "-u", getpass.getuser(),
                                      *where]), stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        fill = [bench.load, "fill", "--protocol", "memcached", "--target", self.address, "--keys", str(keys)]

        def filled():
            if self.process.poll() is not None:
                raise Failure("memcached did not start")
            return subprocess.run(fill, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        wait_until(filled, START_SECONDS, "memcached")
        self.keys = ["--keys", keys]

    def close(self):
        stop(self.process)


class Tern:
    """`ternctl up` on a configuration, and the other commands on its run directory."""

    def __init__(self, bench, config, name="tern", cpu=None):
        self.bench = bench
        # On tmpfs itself: elsewhere the arena would lie beside it, and outlive it as it should.
        self.run_dir = pathlib.Path(tempfile.mkdtemp(prefix="tern-perf-", dir="/dev/shm"))
        self.state_dir = bench.folder / f"{name}-state"
        self.log = open(bench.folder / f"{name}.log", "w")
        self.process = subprocess.Popen(
            pinned(bench.server_cpu if cpu is None else cpu,
                   [bench.build / "ternctl", "up", config, "--run-dir", self.run_dir, "--state-dir", self.state_dir]),
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = ""
        while not line.startswith("ready"):
            line = self.process.stdout.readline()
            if line == "":
                self.close()
                raise Failure("ternctl up ended before it was ready:\n" + self.log_tail())
        self.pid = self.status()["dataplane"]["pid"]

    def log_tail(self):
        return pathlib.Path(self.log.name).read_text()[-2000:]

    def ternctl(self, *arguments, allowed=(0,), cpu="server"):
        command = [self.bench.build / "ternctl", *arguments, "--run-dir", self.run_dir]
        done = subprocess.run(pinned(self.bench.server_cpu if cpu == "server" else cpu, command),
                              capture_output=True, text=True, timeout=300)
        if done.returncode not in allowed:
            raise Failure(f"ternctl {' '.join(map(str, arguments))} ended with {done.returncode}:\n"
                          + done.stdout + done.stderr)
        return done.stdout

    def status(self):
        return json.loads(self.ternctl("status", "--json"))

    def apply(self, config, cpu="server"):
        return json.loads(self.ternctl("apply", config, "--json", cpu=cpu))

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


class TernApart(Tern):
    """tern-control and ternd started by us, so that ternd can have options of its own."""

    def __init__(self, bench, config, name, options):
        self.bench = bench
        self.run_dir = pathlib.Path(tempfile.mkdtemp(prefix="tern-perf-", dir="/dev/shm"))
        self.log = open(bench.folder / f"{name}.log", "w")
        state_dir = bench.folder / f"{name}-state"
        state_dir.mkdir(mode=0o700, exist_ok=True)
        self.processes = []
        for program, arguments in (("tern-control", ["--config", config, "--state-dir", state_dir]),
                                   ("ternd", options)):
            self.processes.append(subprocess.Popen(
                pinned(bench.server_cpu, [bench.build / program, "--run-dir", self.run_dir, *arguments]),
                stdout=subprocess.DEVNULL, stderr=self.log))
        self.pid = self.processes[1].pid
        try:
            wait_until(self._serves, START_SECONDS, f"{name} serves")
        except Failure:
            self.close()
            raise

    def _serves(self):
        if any(process.poll() is not None for process in self.processes):
            raise Failure("a process of tern ended at its start:\n" + self.log_tail())
        try:
            self.ternctl("wait", "--generation", "1", "--timeout", "100ms")
            return True
        except Failure:
            return False

    def close(self):
        for process in reversed(self.processes):
            stop(process)
        self.log.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


def import_client(root):
    """The project's own Python client."""
    sys.path.insert(0, os.fspath(root / "clients" / "python"))
    import tern
    return tern
