"""What the board tells: stages that add up, hits of rules, and the commands that show them."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios

import pytest
from instance import DEADLINE_S, Expired, wait_until
from load import Load, versioned
from tern import Client, Op

PARTS = ("recv", "decode", "tier1", "queue", "tier2", "reply")


def stage_sums(stats):
    return {name: stage["count"] * stage["mean_ns"] for name, stage in stats["stages"].items()}


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_stages_add_up_to_the_total(make_instance, backend):
    """Single requests, pipelined ones, small and large batches, refused ones, and other operations."""
    instance = make_instance(backend=backend).start()
    before = instance.ctl_json("stats")
    item = {"ip": "192.0.2.7", "path": "/login", "user": 2, "host": "www.example.com"}
    sizes = [1] * 200 + [5] * 50 + [32] * 20 + [33, 500, 4096]
    with instance.client() as client:
        for size in sizes:
            client.decide([item] * size)
        pending = [client.submit([item]) for _ in range(500)]
        for request in pending:
            client.collect(request)
        for _ in range(7):
            client.ping()
        client.send_frame(Op.DECIDE, b"\1\0\1\0\7", request_id=900000)
        client.recv_frame()
    requests = len(sizes) + len(pending)

    def counted():
        stats = instance.ctl_json("stats")
        done, others = (stats["stages"][name]["count"] - before["stages"][name]["count"] for name in ("total", "other"))
        return stats if done >= requests and others >= 9 else None
    stats = wait_until(counted, "all is timed, which is when it has been sent")
    for name in ("recv", "decode", "tier1", "reply", "total"):
        assert (stats["stages"][name]["count"] - before["stages"][name]["count"]) == requests, name
    assert stats["stages"]["queue"]["count"] == stats["stages"]["tier2"]["count"] == 0
    others = stats["stages"]["other"]["count"] - before["stages"]["other"]["count"]
    assert others == 8 + 1, "seven pings, one refusal, and the client's HELLO"
    sums, earlier = stage_sums(stats), stage_sums(before)
    total = sums["total"] - earlier["total"]
    parts = sum(sums[name] - earlier[name] for name in PARTS)
    assert total > 0 and abs(parts - total) <= 0.001 * total, (parts, total)
    counters = stats["counters"]
    assert counters["decisions"] - before["counters"]["decisions"] == sum(sizes) + len(pending)
    assert counters["requests"] - before["counters"]["requests"] == requests + others


def hits(instance):
    """(id, mode) → hits, of all rules that hit something."""
    return {(rule["id"], rule["mode"]): rule["hits"]
            for rule in instance.ctl_json("stats", "--rules")["rules"] if rule["hits"] > 0}


RULES_BEFORE = """\
  - { id: own-net, when: 'ip in {10.0.0.0/8}', then: allow }
  - { id: bad-net, when: 'ip in $bad_nets', then: deny }
  - { id: dots, when: 'path starts_with "/../"', add: 4 }
  - { id: script, when: 'path ends_with ".php"', add: 4, mode: shadow }
  - { id: login, when: 'path starts_with "/login"', then: challenge, mode: shadow }
  - { id: admin, when: 'path starts_with "/admin"', then: deny, mode: "off" }
"""
RULES_AFTER = """\
  - { id: login, when: 'path starts_with "/login"', then: challenge }
  - { id: bad-net, when: 'ip in $bad_nets', then: challenge, mode: shadow }
  - { id: dots, when: 'path starts_with "/../"', add: 4 }
"""


def test_hits_of_rules_go_on_through_generations(make_instance):
    instance = make_instance(rules=RULES_BEFORE, workers=2).start()

    def ask(count, action, **request):
        with Client(instance.tcp) as client:  # a new one each time: either loop may get it
            verdicts = client.decide([request] * count)
        assert {verdict.action.name for verdict in verdicts} == {action}
    ask(3, "ALLOW", ip="10.0.0.1")
    ask(40, "DENY", ip="192.0.2.1")
    ask(5, "CHALLENGE", ip="203.0.113.1", path="/../x.php")
    ask(7, "ALLOW", path="/login")  # shadow decides nothing
    ask(2, "ALLOW", path="/admin")
    ask(9, "ALLOW", ip="10.0.0.1", path="/login.php")  # behind a rule that decides: not reached
    expected = {("own-net", "live"): 12, ("bad-net", "live"): 40, ("dots", "live"): 5,
                ("script", "shadow"): 5, ("login", "shadow"): 7}
    assert hits(instance) == expected
    counters = instance.stats()
    assert counters["unruled"] == 5 + 7 + 2

    instance.write_config(rules=RULES_AFTER)
    instance.apply()
    ask(6, "CHALLENGE", path="/login")
    ask(8, "ALLOW", ip="192.0.2.1")
    ask(1, "CHALLENGE", path="/../")
    expected.update({("login", "live"): 6, ("bad-net", "shadow"): 8, ("dots", "live"): 6})
    assert hits(instance) == expected, "counts of before stay, shadow and live stand apart"

    instance.write_config(rules=RULES_BEFORE)
    instance.apply()
    ask(10, "DENY", ip="192.0.2.1")
    expected[("bad-net", "live")] = 50
    assert hits(instance) == expected
    text = instance.ctl("stats", "--rules", check=0).stdout
    assert re.search(r"^login +shadow +7\b", text, re.M) and re.search(r"^bad-net +live +50\b", text, re.M)
    assert "and 5 more" in instance.ctl("stats", "--rules", "-n", "2", check=0).stdout


def test_rates_and_budget_under_load(make_instance):
    instance = versioned(make_instance).start()
    with Load(instance) as load:
        load.version_of[instance.generation()] = 0
        load.await_answers(200)
        stats = instance.ctl_json("stats", "--interval", "300ms", "--rules")
        budget = instance.ctl_json("budget", "--interval", "200ms", "--windows", "3", "--budget", "1us")
        text = instance.ctl("budget", "--interval", "100ms", "--windows", "2", check=0).stdout
    assert not load.problems, load.problems
    interval = stats["interval"]
    assert 0.3 <= interval["seconds"] < 10 and interval["seats_started"] == 0
    assert interval["rates"]["decisions"] > 0
    assert interval["rates"]["decisions"] * interval["seconds"] <= stats["counters"]["decisions"]
    assert abs(sum(interval["verdicts"][name] for name in ("allow", "deny", "challenge", "undecided"))
               - 1) < 1e-6
    loop = interval["loops"][0]
    assert loop["decisions_per_s"] == pytest.approx(interval["rates"]["decisions"], rel=0.2)
    assert loop["busy"] is None or 0 <= loop["busy"] <= 1
    assert {rule["id"] for rule in stats["rules"]} == {"mark", "next"}
    assert all(rule["per_s"] > 0 for rule in stats["rules"])

    assert budget["budget_ns"] == 1000 and budget["budget_from"] == "--budget"
    assert len(budget["windows"]) == 3 and all(w["requests"] > 0 for w in budget["windows"])
    assert sum(w["requests"] for w in budget["windows"]) == budget["recent"]["requests"]
    assert budget["since_start"]["requests"] > budget["recent"]["requests"]
    for period in ("recent", "since_start"):
        assert budget[period]["adds_up"] == pytest.approx(1, abs=0.03)
        assert budget[period]["over_budget_share"] > 0.99, "nothing is answered within a microsecond"
        shares = budget[period]["stages"]
        assert sum(shares[name]["share"] for name in PARTS) == pytest.approx(1, abs=0.03)
    assert budget["stability"]["p99_spread"] >= 1
    assert "limits.deadline" in text and "add up to 100.0 %" in text


def test_watching_needs_ternd_only(make_instance):
    """With tern-control dead, and with ternd started anew in between."""
    instance = make_instance().start()
    assert instance.answers()
    control = instance.control_pid()
    os.kill(control, signal.SIGSTOP)  # the supervisor would start another one
    try:
        for command in (["stats", "--rules"], ["budget", "--interval", "50ms", "--windows", "1"],
                        ["top", "--interval", "100ms"], ["top", "--json", "--interval", "50ms"]):
            done = instance.ctl(*command, check=0)
            assert done.stdout
        assert "one look" in instance.ctl("top", "--interval", "100ms").stderr
    finally:
        os.kill(control, signal.SIGCONT)
    old = instance.ternd_pid()
    watching = subprocess.Popen([str(instance.binaries / "ternctl"), "budget", "--run-dir",
                                 str(instance.run_dir), "--interval", "1s", "--windows", "2", "--json"],
                                stdout=subprocess.PIPE)
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: instance.ternd_pid() not in (None, old) and instance.answers(), "a new ternd")
    output, _ = watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0 and b'"seats"' in output
    assert hits(instance)[("own-net", "live")] >= 1, "the new one counts from zero"


@pytest.mark.parametrize("arguments, message", [
    (["budget", "--budget", "0us"], "at least 1us"), (["budget", "--windows", "0"], "at least 1"),
    (["stats", "--interval", "1ms"], "10ms to 1h"), (["top", "--interval", "soon"], "a duration like"),
    (["top", "--budget", "1ms"], "no option")])
def test_options_that_do_not_fit(shared_instance, arguments, message):
    done = shared_instance.ctl(*arguments)
    assert done.returncode == 2 and message in done.stderr


class Terminal:
    """`ternctl top` on a pseudoterminal of ours."""

    def __init__(self, instance, rows=30, columns=100):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [str(instance.binaries / "ternctl"), "top", "--interval", "100ms", "--run-dir",
             str(instance.run_dir)],
            stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"},
            preexec_fn=self._begin)
        self.slave, self.text = slave, ""

    @staticmethod
    def _begin():
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored when the tests run under nohup

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode()
        return self.text

    def await_text(self, what):
        try:
            wait_until(lambda: what in self.read(), f"{what!r} on the screen")
        except Expired as expired:
            raise Expired(f"{expired}:\n{self.text[-3000:]}") from None

    def frames(self):
        """What was drawn, each from the home position to the foot, as lines without the codes."""
        return [re.sub(r"\033\[[0-9;?]*[A-Za-z]|\r", "", frame).split("\n")
                for frame in self.read().split("\033[H")[1:] if frame.endswith("\033[K\033[0m")]

    def end(self):
        code = self.process.wait(DEADLINE_S)
        self.read()
        after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        os.close(self.master)
        assert self.text.endswith("\033[?25h\033[?1049l"), "the screen is given back"
        assert after == self.before, "the terminal is as it was"
        return code


@pytest.fixture
def make_terminal():
    """A factory; what a failed test leaves running is ended."""
    made = []

    def make(*arguments, **options):
        made.append(Terminal(*arguments, **options))
        return made[-1]

    yield make
    for terminal in made:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_top_on_a_terminal(shared_instance, make_terminal):
    assert shared_instance.answers({"ip": "192.0.2.1"})
    terminal = make_terminal(shared_instance, rows=30, columns=70)
    terminal.await_text("decisions/s")
    terminal.await_text("bad-net")
    assert terminal.text.startswith("\033[?1049h")
    frame = wait_until(terminal.frames, "a whole screen")[-1]
    assert len(frame) == 29 and all(len(line) <= 70 for line in frame[:-1])
    assert frame[0].startswith("tern test") and any(line.startswith("total") for line in frame)

    terminal.resize(10, 40)
    os.kill(terminal.process.pid, signal.SIGWINCH)
    wait_until(lambda: len(terminal.frames()[-1]) == 9, "the smaller screen")
    assert all(len(line) <= 40 for line in terminal.frames()[-1][:-1])

    terminal.resize(30, 100)
    os.kill(terminal.process.pid, signal.SIGWINCH)
    os.write(terminal.master, b"+")
    terminal.await_text("every 0.2 s")
    drawn = len(terminal.frames())
    os.write(terminal.master, b" ")
    wait_until(lambda: len(terminal.frames()) > drawn + 1, "another look")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM),
                                          (signal.SIGHUP, -signal.SIGHUP)])
def test_top_gives_the_terminal_back(shared_instance, make_terminal, number, code):
    terminal = make_terminal(shared_instance)
    terminal.await_text("q quits")
    terminal.process.send_signal(number)
    assert terminal.end() == code


def test_top_stops_and_goes_on(shared_instance, make_terminal):
    """Ctrl-Z: the terminal is the shell's while top is stopped, and top's again afterwards."""
    terminal = make_terminal(shared_instance)
    terminal.await_text("q quits")
    os.kill(terminal.process.pid, signal.SIGTSTP)

    def state():
        with open(f"/proc/{terminal.process.pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    wait_until(lambda: state() == "T", "stopped")
    assert terminal.read().endswith("\033[?25h\033[?1049l")
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.text = ""
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.await_text("\033[?1049h")
    terminal.await_text("q quits")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0


def test_top_ends_with_its_terminal(shared_instance, make_terminal):
    """Without a signal: a terminal that controls nobody just closes."""
    terminal = make_terminal(shared_instance)
    terminal.await_text("q quits")
    os.close(terminal.slave)
    os.close(terminal.master)
    assert terminal.process.wait(DEADLINE_S) == 0


def test_top_survives_its_ternd(make_instance, make_terminal):
    instance = make_instance().start()
    terminal = make_terminal(instance)
    terminal.await_text("1 ternd up")
    old = instance.ternd_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: instance.ternd_pid() not in (None, old), "a new ternd")
    shown = str(instance.ternd_pid())
    terminal.await_text(shown)
    os.write(terminal.master, b"q")
    assert terminal.end() == 0
