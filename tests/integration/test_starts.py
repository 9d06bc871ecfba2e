"""Starting: the second on one directory, as an ordinary user, after a reboot, on a disk."""
import json
import os
import shutil
import signal
import subprocess

import pytest
from instance import DATA, is_running, wait_until
from tern import Action


def test_a_second_instance_is_refused_by_name(instance):
    again = subprocess.run([str(instance.binaries / "ternctl"), "up", str(instance.config_path),
                            "--run-dir", str(instance.run_dir), "--state-dir",
                            str(instance.state_dir)],
                           capture_output=True, text=True, timeout=20)
    assert again.returncode == 1
    assert str(instance.run_dir) in again.stderr
    assert str(instance.supervisor.pid) in again.stderr, "says who holds it"
    assert instance.answers()


def test_a_second_control_plane_is_refused(instance):
    process = instance.start_process("tern-control", "--config", str(instance.config_path),
                                     "--state-dir", str(instance.state_dir))
    assert process.wait(15) != 0
    assert instance.answers() and instance.apply()["acknowledged"]


def test_a_taken_port_is_a_clear_refusal(make_instance):
    first = make_instance().start()
    second = make_instance(port=first.port).launch()
    second.supervisor.wait(20)
    assert second.supervisor.returncode == 1
    assert str(first.port) in second.log_text()
    assert first.answers()


def test_an_unprivileged_user(make_instance, as_root):
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    instance = make_instance(user="nobody").start()
    assert instance.client().decide({"ip": "192.0.2.1"}).action is Action.DENY
    for plane in ("dataplane", "controlplane"):
        assert os.stat(f"/proc/{instance.status()[plane]['pid']}").st_uid != 0
    assert instance.apply()["acknowledged"]


def test_a_stranger_may_not_publish(make_instance, as_root):
    """The control socket checks who asks."""
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    instance = make_instance().start()
    os.chmod(instance.directory, 0o755)
    before = instance.generation()
    done = subprocess.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                           str(instance.binaries / "ternctl"), "apply", str(instance.config_path),
                           "--run-dir", str(instance.run_dir)],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode in (1, 3)
    assert instance.generation() == before


def test_a_reboot_with_a_source_missing_serves_the_last_good_snapshot(make_instance):
    instance = make_instance().start()
    instance.write_source("bad-nets.txt", DATA["bad-nets.txt"] + "203.0.113.0/24\n")
    generation = instance.apply()["generation"]
    assert instance.stop() == 0
    forget_run_dir(instance)
    (instance.sources / "users.csv").unlink()
    instance.start()
    client = instance.client()
    assert client.decide({"ip": "203.0.113.9"}).action is Action.DENY
    assert client.lookup("users", 1) is not None
    status = instance.status()
    assert status["generation"] > generation
    assert "users.csv" in (status["last_failure"] or {}).get("reason", ""), "status says so"
    assert "users.csv" in instance.log_text()
    instance.write_source("users.csv", DATA["users.csv"])
    assert instance.apply()["generation"] > status["generation"]


def forget_run_dir(instance):
    """What a reboot leaves of a tmpfs."""
    shutil.rmtree(instance.run_dir)
    instance.run_dir.mkdir()


def test_a_reboot_counts_on(make_instance):
    instance = make_instance().start()
    for _ in range(3):
        last = instance.apply()["generation"]
    assert instance.stop() == 0
    forget_run_dir(instance)
    instance.start()
    assert instance.generation() > last
    rows = [row["generation"] for row in instance.history()]
    assert rows == sorted(rows, reverse=True) and len(set(rows)) == len(rows)


def test_a_restart_keeps_serving_from_the_same_arena(make_instance):
    instance = make_instance().start()
    arena = os.stat((instance.run_dir / "arena").resolve()).st_ino
    assert instance.stop() == 0
    instance.start()
    assert os.stat((instance.run_dir / "arena").resolve()).st_ino == arena, "never replaced"
    assert instance.answers()


def test_damaged_state_is_not_fatal_to_serving(make_instance):
    """Without usable packed sections a configuration with its sources still starts."""
    instance = make_instance().start()
    assert instance.stop() == 0
    forget_run_dir(instance)
    for path in instance.state_dir.rglob("*"):
        if path.is_file() and "state.db" not in path.name:
            path.write_bytes(b"damaged")
    instance.start()
    assert instance.client().decide({"ip": "192.0.2.1"}).action is Action.DENY


def test_a_run_directory_on_a_disk(make_instance, tmp_path):
    instance = make_instance(run_dir_in=str(tmp_path))
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True)
    if kind.stdout.strip() == "tmpfs":
        pytest.skip("the temporary directory is a tmpfs")
    instance.start()
    for name in ("arena", "board", "readers"):
        link = instance.run_dir / name
        assert link.is_symlink() and str(link.resolve()).startswith("/dev/shm/tern-")
    assert instance.client().decide({"ip": "192.0.2.1"}).action is Action.DENY


def test_ipv6_and_several_listeners(make_instance):
    instance = make_instance()
    text = instance.config_path.read_text()
    instance.config_path.write_text(text.replace(
        f'"tcp://127.0.0.1:{instance.port}"',
        f'"tcp://127.0.0.1:{instance.port}", "tcp://[::1]:{instance.port}"'))
    instance.start()
    for address in (instance.tcp, instance.unix, f"tcp://[::1]:{instance.port}"):
        assert instance.client(address).decide({"ip": "192.0.2.1"}).action is Action.DENY


def test_a_stale_unix_socket_is_replaced(make_instance):
    instance = make_instance().start()
    ternd, control = instance.ternd_pid(), instance.control_pid()
    instance.supervisor.send_signal(signal.SIGSTOP)  # or it would start another
    os.kill(ternd, signal.SIGKILL)
    wait_until(lambda: not is_running(ternd), "ternd is gone")
    assert instance.socket.exists()
    instance.supervisor.kill()
    instance.supervisor.wait()
    wait_until(lambda: not is_running(control), "tern-control has followed its supervisor")
    instance.start()
    assert instance.client(instance.unix).decide({"ip": "192.0.2.1"}).action is Action.DENY


def test_several_workers(make_instance):
    instance = make_instance(workers=3).start()
    assert instance.status()["dataplane"]["loops"] == 3
    clients = [instance.client() for _ in range(24)]
    for client in clients:
        assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY
    generation = instance.apply()["generation"]
    for client in clients:
        wait_until(lambda: client.decide({"ip": "192.0.2.1"}).generation == generation, "adopted")


def test_logs_as_json(make_instance):
    instance = make_instance(log_format="json").start()
    instance.ctl("apply", instance.sources / "none.yaml")
    assert instance.stop() == 0
    lines = [line for line in instance.log_text().splitlines() if "warning: no rule uses" not in line]
    assert len(lines) > 3
    for line in lines:
        assert json.loads(line)


def test_a_lost_arena_is_made_anew_and_followed(make_instance):
    """Somebody deletes the arena: the running ternd serves on from what it maps, a restarted control
    plane makes another from the last good generation, and ternd moves over."""
    instance = make_instance().start()
    before, ternd = instance.generation(), instance.ternd_pid()
    client = instance.client()
    control = instance.control_pid()
    (instance.run_dir / "arena").unlink()
    os.kill(control, signal.SIGKILL)
    instance.await_control(control)
    assert instance.generation() > before
    wait_until(lambda: client.decide({"ip": "192.0.2.1"}).generation == instance.generation(),
               "ternd has followed")
    assert client.decide({"ip": "192.0.2.1"}).action is Action.DENY
    assert instance.apply()["acknowledged"]
    assert instance.ternd_pid() == ternd


def test_a_start_that_ends_while_it_is_looked_at(race_instance):
    """A status that is taken while the start ends says that it lasts, or what is served: never that there is nothing."""
    instance = race_instance
    instance.hold("publish-built")
    instance.launch()
    instance.await_held("publish-built")
    instance.hold("status-builder-seen")
    instance.await_held("status-builder-seen")
    instance.release("publish-built")
    wait_until(lambda: "is live (start)" in instance.log_text(), "the start is over")
    instance.release("status-builder-seen")
    instance.await_ready()


def test_backends_live_side_by_side(make_instance):
    instance = make_instance(backend="io_uring").start()
    other = instance.start_process("ternd", "--backend", "epoll")
    wait_until(lambda: other.pid in {seat["pid"] for seat in instance.status()["seats"]}, "joined")
    assert len({seat["backend"] for seat in instance.status()["seats"]}) in (1, 2)
    told = instance.apply()
    assert told["acknowledged"] and len(told["seats"]) == 2


def test_what_another_build_left_is_replaced(make_instance):
    """An upgrade: arena and board have another layout, nobody uses them, the next start makes new ones."""
    instance = make_instance().start()
    generation = instance.generation()
    assert instance.stop() == 0
    with open(instance.run_dir / "board", "r+b") as board:
        board.truncate(12288)
    with open(instance.run_dir / "arena", "r+b") as arena:  # the envelope's ABI, behind the magic
        arena.seek(8)
        arena.write((9999).to_bytes(4, "little"))
    instance.start()
    assert instance.generation() > generation
    assert instance.client().decide({"ip": "192.0.2.1"}).action is Action.DENY
    assert instance.stats()["decisions"] >= 1
    assert "bytes, this build's board is" in instance.log_text() or "ABI 9999" in instance.log_text()
