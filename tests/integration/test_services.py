"""As under a service manager: readiness, the watchdog, and two users of one group."""
import json
import os
import re
import signal
import socket
import subprocess

import pytest
from instance import BUILD, ROOT, Instance, wait_until
from tern import Action, Client

WATCHDOG_US = 400000


class Manager:
    """The socket that a service manager listens on."""

    def __init__(self, directory, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0tern-test-{os.getpid()}-{id(self)}" if abstract else str(directory / "notify")
        self.socket.bind(name)
        if not abstract:
            os.chmod(name, 0o777)
        self.name = name.replace("\0", "@")
        self.socket.settimeout(0.02)
        self.heard = []

    def environment(self, watchdog_us=0):
        return {"NOTIFY_SOCKET": self.name, **({"WATCHDOG_USEC": str(watchdog_us)} if watchdog_us else {})}

    def listen(self):
        """Everything that was said until now, a line each."""
        try:
            while True:
                self.heard += self.socket.recv(4096).decode().split("\n")
        except (BlockingIOError, socket.timeout):
            return self.heard

    def await_said(self, line, times=1):
        wait_until(lambda: self.listen().count(line) >= times, f"{line} ×{times}, heard {self.heard}")


def control_arguments(instance):
    return ["--config", str(instance.config_path), "--state-dir", str(instance.state_dir)]


@pytest.mark.parametrize("abstract", [False, True])
def test_both_say_when_they_are_ready_and_that_they_live(make_instance, abstract):
    instance = make_instance()
    data, control = Manager(instance.directory, abstract), Manager(instance.run_dir, abstract)
    ternd = instance.start_process("ternd", environment=data.environment(WATCHDOG_US))
    data.await_said("STATUS=waiting for tern-control")
    assert "READY=1" not in data.heard
    tern_control = instance.start_process("tern-control", *control_arguments(instance),
                                          environment=control.environment(WATCHDOG_US))
    control.await_said("READY=1")
    data.await_said("READY=1")
    assert instance.answers(), "ready means that requests are answered"
    # Idle loops are woken to show that they turn.
    before = data.listen().count("WATCHDOG=1"), control.listen().count("WATCHDOG=1")
    data.await_said("WATCHDOG=1", before[0] + 3)
    control.await_said("WATCHDOG=1", before[1] + 3)
    for process, manager in ((ternd, data), (tern_control, control)):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        manager.await_said("STOPPING=1")


def test_nothing_is_said_before_anything_can_be_answered(make_instance):
    """A configuration that is refused: tern-control is ready for commands, ternd is not ready at all."""
    instance = make_instance(rules="  - { id: a, when: 'nonsense', then: deny }\n")
    manager = Manager(instance.directory)
    instance.start_process("tern-control", *control_arguments(instance))
    wait_until(lambda: (instance.try_status() or {}).get("last_failure"), "the start has failed")
    instance.start_process("ternd", environment=manager.environment(WATCHDOG_US))
    heard = manager.listen()
    wait_until(lambda: "waiting for tern-control" in instance.log_text(), "ternd waits")
    assert "READY=1" not in heard and "WATCHDOG=1" not in heard
    instance.options["rules"] = "  - { id: a, when: 'flag == true', then: deny }"
    instance.write_config()
    # ternd joins when there is an arena, which is while this is published: it may be there to acknowledge it
    done = instance.ctl("apply", instance.config_path)
    assert done.returncode in (0, 4), done.stderr
    manager.await_said("READY=1")


def test_a_manager_that_is_gone_harms_nobody(make_instance):
    instance = make_instance()
    environment = {"NOTIFY_SOCKET": str(instance.directory / "nobody"), "WATCHDOG_USEC": "200000"}
    instance.start_process("tern-control", *control_arguments(instance), environment=environment)
    instance.start_process("ternd", environment={**environment, "NOTIFY_SOCKET": "neither"})
    wait_until(instance.answers, "answers")


def test_up_speaks_for_both(make_instance):
    instance = make_instance()
    manager = Manager(instance.directory)
    os.environ.update(manager.environment())
    try:
        instance.start()
    finally:
        del os.environ["NOTIFY_SOCKET"]
    manager.await_said("READY=1")
    assert manager.listen().count("READY=1") == 1, "the children are silent"


LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (ternd|tern-control)\[\d+\] (info|warning|error): .+")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("journal", [False, True])
def test_both_log_in_one_form(make_instance, form, journal):
    """With their priority in front where standard error is the journal's, and only there."""
    instance = make_instance()
    instance.log.touch()
    where = instance.log.stat()
    environment = {"JOURNAL_STREAM": f"{where.st_dev}:{where.st_ino if journal else where.st_ino + 1}"}
    instance.start_process("tern-control", *control_arguments(instance), "--log", form, environment=environment)
    instance.start_process("ternd", "--log", form, environment=environment)
    wait_until(instance.answers, "answers")
    processes = set()
    for line in instance.log_text().splitlines():
        if journal:
            priority, line = re.fullmatch(r"<([346])>(.*)", line).groups()
        if form == "json":
            said = json.loads(line)
            assert set(said) == {"time", "process", "pid", "level", "message"}
            line = "{time} {process}[{pid}] {level}: {message}".format(**said)
        found = LINE.fullmatch(line)
        assert found, line
        processes.add(found[1])
        if journal:
            assert priority == {"info": "6", "warning": "4", "error": "3"}[found[2]]
    assert processes == {"ternd", "tern-control"}


# ---- Two users ----

CONTROL, DATA, STRANGER, GROUP = 64201, 64202, 64203, 64200


def as_user(uid, gid=GROUP):
    return ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all", "--no-new-privs"]


class Services(Instance):
    """Both processes as the units start them, but without the units."""

    def __init__(self, **options):
        super().__init__(**options)
        self.sockets = self.directory / "sockets"
        self.sockets.mkdir()
        self.socket = self.sockets / "t.sock"
        self.options["socket"] = self.socket
        self.write_config()
        os.chmod(self.directory, 0o755)
        for path in (self.run_dir, self.state_dir, self.sources, *self.sources.iterdir()):
            os.chown(path, CONTROL, GROUP)
        os.chmod(self.run_dir, 0o750)
        os.chmod(self.state_dir, 0o700)
        os.chown(self.sockets, DATA, GROUP)

    def begin(self, name, uid, *arguments):
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                as_user(uid) + [str(self.binaries / name), "--run-dir", str(self.run_dir), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, umask=0o077)
        self.extra.append(process)
        return process

    def begin_control(self):
        return self.begin("tern-control", CONTROL, "--resume", *control_arguments(self))

    def begin_data(self):
        return self.begin("ternd", DATA)

    def may(self, uid, how, path, gid=GROUP):
        return subprocess.run(as_user(uid, gid) + ["test", how, str(path)]).returncode == 0


@pytest.fixture
def services(as_root):
    instance = Services()
    if not instance.may(DATA, "-x", instance.binaries / "ternd"):
        instance.dispose()
        pytest.skip(f"other users may not reach {instance.binaries}")
    yield instance
    problems = instance.dispose()
    assert not problems, problems


def test_two_users_share_what_they_must_and_nothing_else(services):
    data, control = services.begin_data(), services.begin_control()
    wait_until(services.answers, "answers")
    client = services.client(services.unix)
    assert client.decide({"ip": "192.0.2.200"}).action is Action.DENY
    arena, board, state = services.run_dir / "arena", services.run_dir / "board", services.state_dir / "state.db"
    assert services.may(DATA, "-r", arena) and not services.may(DATA, "-w", arena)
    assert services.may(DATA, "-w", board)
    assert not services.may(DATA, "-w", services.run_dir) and not services.may(DATA, "-r", state)
    assert not services.may(DATA, "-w", services.config_path)
    for path in (arena, board, state, services.run_dir / "control.sock"):
        assert not services.may(STRANGER, "-r", path, gid=STRANGER), path

    # A publish needs both: prepared and acknowledged by one user, swapped by the other.
    services.options["rules"] = "  - { id: none, when: 'ip in $bad_nets', then: challenge }"
    services.write_config()
    applied = services.ctl_json("apply", services.config_path)
    assert applied["published"] and client.decide({"ip": "192.0.2.200"}).action is Action.CHALLENGE
    status = services.status()
    assert status["dataplane"]["pid"] == data.pid and status["controlplane"]["pid"] == control.pid

    # Either may die and come back.
    data.kill()
    data.wait()
    services.begin_data()
    wait_until(services.answers, "answers again")
    control.kill()
    control.wait()
    with Client(services.unix) as other:
        assert other.decide({"ip": "192.0.2.200"}).action is Action.CHALLENGE
    services.begin_control()
    wait_until(lambda: services.try_status(), "tern-control is back")
    assert services.ctl_json("apply", services.config_path)["generation"] >= applied["generation"]


def test_the_data_plane_does_not_command_the_control_plane(services):
    services.begin_control()
    services.begin_data()
    wait_until(services.answers, "answers")
    line = [str(BUILD / "ternctl"), "apply", str(services.config_path), "--run-dir", str(services.run_dir)]
    for uid, gid, code in ((DATA, GROUP, (1, 3)), (STRANGER, STRANGER, (1, 3)), (CONTROL, GROUP, (0,))):
        done = subprocess.run(as_user(uid, gid) + line, capture_output=True, text=True, timeout=60)
        assert done.returncode in code, (uid, done.stdout, done.stderr)
    # Counters are on the board, which the group may read.
    done = subprocess.run(as_user(DATA) + [str(BUILD / "ternctl"), "stats", "--run-dir", str(services.run_dir)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ---- The units ----

UNITS = {name: (ROOT / f"packaging/{name}@.service.in").read_text() for name in ("ternd", "tern-control")}


def test_units_start_what_there_is_with_options_that_there_are():
    for name, text in UNITS.items():
        start = re.search(r"^ExecStart=@bindir@/(\S+) (.*)$", text, re.M)
        assert start[1] == name
        known = subprocess.run([str(BUILD / name), "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"--[\w-]+", start[2]):
            assert option in known, (name, option)
        assert "Type=notify" in text and "WatchdogSec=" in text and "NoNewPrivileges=yes" in text
    assert "User=tern\n" in UNITS["ternd"] and "User=tern-control\n" in UNITS["tern-control"]
    assert "RuntimeDirectoryPreserve=yes" in UNITS["tern-control"], "the arena must outlive its writer"
