"""One tern under test: its configuration, its data, its processes."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from tern import Client, ConnectionClosed, StatusError, Timeout, Unreachable

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TERN_BUILD", ROOT / "build")).resolve()
RACE_BUILD = pathlib.Path(os.environ.get("TERN_RACE_BUILD", ROOT / "build-asan")).resolve()
DEADLINE_S = 20.0

CONFIG = """\
tern: 1
instance: test
listen: [ "tcp://127.0.0.1:{port}", "unix://{socket}" ]
workers: {workers}
arena: {arena}
limits: {{ max_frame: {max_frame}, idle: {idle}, half_frame: {half_frame}, connections: {connections}, deadline: {deadline} }}
fields:
  ip: ip
  host: host
  path: string
  user: u64
  level: i64
  ratio: f32
  flag: bool
tables:
  bad_nets: {{ type: prefix_set, source: bad-nets.txt }}
  asn: {{ type: prefix_map, by: ip, source: asn.csv, columns: {{ number: u32, kind: string }} }}
  bad_hosts: {{ type: domain_set, source: bad-hosts.txt }}
  users: {{ type: exact_map, by: user, key: id, source: users.csv, columns: {{ trust: f32, age_days: u32, plan: string }} }}
  tokens: {{ type: exact_set, of: string, source: tokens.txt }}
rules:
{rules}
thresholds: [ {{ at: 8, then: deny }}, {{ at: 4, then: challenge }} ]
default: allow
"""

RULES = """\
  - { id: own-net, when: 'ip in {10.0.0.0/8, 192.168.0.0/16}', then: allow }
  - { id: bad-net, when: 'ip in $bad_nets', then: deny, score: 1.0 }
  - { id: bad-host, when: 'host in $bad_hosts', then: deny }
  - { id: bot-net, when: 'asn.kind == "hosting" and not exists(user)', then: challenge }
  - { id: low-trust, when: 'path starts_with "/login" and users.trust < 0.2', then: challenge }
  - { id: dots, when: 'path starts_with "/../"', add: 4 }
  - { id: script, when: 'path ends_with ".php"', add: 4 }
  - { id: level, when: 'level <= -5 or ratio > 0.5', then: challenge }
  - { id: flagged, when: 'flag == true', then: deny }
"""

DATA = {
    "bad-nets.txt": "# documentation networks\n192.0.2.0/24\n198.51.100.7\n2001:db8:bad::/48\n",
    "asn.csv": "start,end,number,kind\n203.0.113.0,203.0.113.127,64500,isp\n"
               "203.0.113.128,203.0.113.255,64501,hosting\n",
    "bad-hosts.txt": "bad.example\nevil.test\n",
    "users.csv": "id,trust,age_days,plan\n1,0.9,400,gold\n2,0.1,3,free\n3,0.5,30,free\n",
    "tokens.txt": "alpha\nbeta\n",
}


class Expired(AssertionError):
    pass


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Calls `condition` until it yields something true, and yields that."""
    until = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise Expired(f"not within {deadline_s} s: {what}")
        threading.Event().wait(0.005)  # between two looks at the condition


def free_port():
    """One that nobody has, and that the kernel gives to nobody's connection before it is listened on."""
    first_ephemeral = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10000, first_ephemeral) if first_ephemeral > 20000 else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]


def is_running(pid):
    """Neither gone nor a zombie."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


class Refused(Exception):
    def __init__(self, done):
        super().__init__(f"exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        self.done = done


class Instance:
    """`options` fill CONFIG; `binaries` is a build directory; `user` runs it as somebody else."""

    def __init__(self, *, binaries=None, backend=None, races=False, user=None, run_dir_in="/dev/shm",
                 log_format=None,
                 config=CONFIG, rules=RULES, data=None, **options):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tern-test-", dir=run_dir_in))
        self.binaries = pathlib.Path(binaries or BUILD)
        self.backend, self.user, self.log_format = backend, user, log_format
        self.run_dir, self.state_dir = self.directory / "run", self.directory / "state"
        self.sources = self.directory / "config"
        self.race_dir = self.directory / "races" if races else None
        for directory in (self.run_dir, self.state_dir, self.sources, self.race_dir):
            if directory:
                directory.mkdir()
        self.port = free_port()
        self.socket = self.directory / "t.sock"
        if len(str(self.socket)) > 70:  # a socket's path is short
            self.socket = pathlib.Path(tempfile.gettempdir()) / f"tern-test-{self.port}.sock"
        self.config = config
        self.options = {"port": self.port, "socket": self.socket, "workers": 1, "arena": "64MiB",
                        "max_frame": "1MiB", "idle": "5m", "half_frame": "10s",
                        # ten seconds: a search that waits for a helper is late for no busy machine
                        "connections": 10000, "deadline": "10s", "rules": rules, **options}
        self.port = self.options["port"]
        self.config_path = self.sources / "tern.yaml"
        self.write_config()
        for name, text in {**DATA, **(data or {})}.items():
            self.write_source(name, text)
        if user:
            shutil.chown(self.directory, user)
            for path in self.directory.rglob("*"):
                shutil.chown(path, user)
        self.log = self.directory / "log"
        self.supervisor = None
        self.extra = []  # further processes, ended with us
        self.clients = []
        self.stops_cleanly = True

    # Files

    def write_config(self, path=None, **changes):
        path = pathlib.Path(path or self.config_path)
        path.write_text(self.config.format(**{**self.options, **changes}))
        return path

    def write_source(self, name, text):
        path = self.sources / name
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text)
        return path

    # Processes

    def _environment(self):
        environment = dict(os.environ)
        if self.race_dir:
            environment["TERN_RACE_DIR"] = str(self.race_dir)
        return environment

    def _as_user(self, command):
        if not self.user:
            return command
        return ["setpriv", "--reuid", self.user, "--regid", "nogroup", "--clear-groups", *command]

    def launch(self, config=None):
        """Starts without waiting for anything."""
        command = [str(self.binaries / "ternctl"), "up", str(config or self.config_path),
                   "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)]
        if self.backend:
            command += ["--backend", self.backend]
        if self.log_format:
            command += ["--log", self.log_format]
        self.output = self.directory / "ready"
        with open(self.log, "ab") as log, open(self.output, "wb") as output:
            self.supervisor = subprocess.Popen(self._as_user(command), stdin=subprocess.DEVNULL,
                                               stdout=output, stderr=log, cwd=self.directory,
                                               env=self._environment())
        return self

    def start(self, config=None):
        self.launch(config)
        self.await_ready()
        return self

    def await_ready(self, deadline_s=DEADLINE_S):
        def ready():
            if self.supervisor.poll() is not None:
                raise AssertionError(f"ternctl up ended with {self.supervisor.returncode}:\n"
                                     + self.log_text())
            return any(line.startswith("ready") for line in self.output.read_text().splitlines())
        try:
            wait_until(ready, "ready", deadline_s)
        except Expired as expired:
            raise Expired(f"{expired}\n{self.log_text()}") from None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start_process(self, name, *arguments, environment=None):
        """A further tern process on the same run directory, outside the supervisor."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                self._as_user([str(self.binaries / name), "--run-dir", str(self.run_dir),
                               *arguments]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**self._environment(), **(environment or {})})
        self.extra.append(process)
        return process

    def stop(self):
        """SIGTERM, as a service manager would; yields the exit code."""
        self.supervisor.send_signal(signal.SIGTERM)
        return self.supervisor.wait(DEADLINE_S)

    def dispose(self):
        """Ends what this instance started; yields what was not as it should be."""
        problems = []
        for client in self.clients:
            client.close()
        for process in self.extra:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(DEADLINE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    problems.append(f"pid {process.pid} did not end on SIGTERM")
        if self.supervisor is not None and self.supervisor.poll() is None:
            try:
                code = self.stop()
                if code != 0 and self.stops_cleanly:
                    problems.append(f"ternctl up ended with {code}")
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
                problems.append("ternctl up did not end on SIGTERM")
        text = self.log_text()
        for mark in ("Sanitizer", "runtime error:", "Assertion"):
            if mark in text:
                problems.append(f"{mark} in the log")
        if problems:
            problems.append(text[-6000:])
        with contextlib.suppress(OSError):
            for name in ("arena", "board"):
                target = self.run_dir / name
                if target.is_symlink():
                    shutil.rmtree(target.resolve().parent, ignore_errors=True)
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        return problems

    # ternctl

    def ctl(self, command, *arguments, run_dir=True, check=None, timeout_s=60):
        """Runs ternctl; with `check` an exit code, anything else raises Refused."""
        line = [str(self.binaries / "ternctl"), command, *map(str, arguments)]
        if run_dir:
            line += ["--run-dir", str(self.run_dir)]
        done = subprocess.run(self._as_user(line), capture_output=True, text=True, timeout=timeout_s,
                              cwd=self.directory, env=dict(os.environ))
        if check is not None and done.returncode != check:
            raise Refused(done)
        return done

    def ctl_json(self, command, *arguments, check=0):
        return json.loads(self.ctl(command, *arguments, "--json", check=check).stdout)

    def status(self):
        return self.ctl_json("status")

    def try_status(self):
        """The status, or None while tern-control is away."""
        done = self.ctl("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def stats(self):
        return self.ctl_json("stats")["counters"]

    def history(self):
        return self.ctl_json("history")["rows"]

    def apply(self, path=None, *arguments, check=0):
        return self.ctl_json("apply", path or self.config_path, *arguments, check=check)

    def generation(self):
        return self.status()["generation"]

    def ternd_pid(self):
        return self.status()["dataplane"]["pid"]

    def control_pid(self):
        return self.status()["controlplane"]["pid"]

    def kill_control(self):
        """kill -9 of tern-control, and another one has started."""
        pid = self.control_pid()
        os.kill(pid, signal.SIGKILL)
        self.await_control(pid)

    def await_control(self, before):
        """Until another tern-control than the one that was `before` has started."""
        def has_started():
            control = (self.try_status() or {}).get("controlplane", {})
            return control.get("pid") not in (None, before) and not control["starting"]
        wait_until(has_started, "another tern-control")

    # Clients

    @property
    def tcp(self):
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def unix(self):
        return f"unix://{self.socket}"

    def client(self, address=None, timeout=DEADLINE_S, **options):
        client = Client(address or self.tcp, timeout=timeout, **options)
        self.clients.append(client)
        return client

    def raw(self, timeout_s=10.0):
        """A plain socket."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)
        self.clients.append(sock)
        return sock

    def answers(self, request=None):
        """True when a request is answered now."""
        try:
            with Client(self.tcp, timeout=2.0) as client:
                client.decide(request or {"ip": "10.1.2.3"})
            return True
        except (ConnectionClosed, StatusError, Timeout, Unreachable):
            return False

    # Race points

    def hold(self, point):
        """The next process that reaches the point waits there until release()."""
        (self.race_dir / f"{point}.hold").touch()

    def await_held(self, point):
        wait_until((self.race_dir / f"{point}.reached").exists, f"{point} reached")

    def release(self, point):
        (self.race_dir / f"{point}.hold").unlink()

    def kill_at(self, point):
        """The next process that reaches the point dies there, as of kill -9."""
        (self.race_dir / f"{point}.kill").touch()

    def await_killed(self, point):
        wait_until(lambda: not (self.race_dir / f"{point}.kill").exists(), f"killed at {point}")
