"""ternctl support-dump: everything a diagnosis needs, nothing that is secret, whoever is dead."""
import io
import json
import os
import stat
import tarfile

from instance import CONFIG, wait_until

SECRET = "correct-horse-battery-staple-9f3c"
WITH_TOKEN = CONFIG.replace("fields:", "tokens: [ {{ name: web, secret: '${{env:SUPPORT_TEST_TOKEN}}' }} ]\nfields:", 1)


def dump(instance, name="dump.tar"):
    path = instance.directory / name
    done = instance.ctl("support-dump", path, check=0)
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("tern-support/"): archive.extractfile(member).read() for member in archive}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return done, members


def test_it_holds_what_there_is_to_know(make_instance):
    os.environ["SUPPORT_TEST_TOKEN"] = SECRET
    try:
        instance = make_instance(config=WITH_TOKEN).start()
    finally:
        del os.environ["SUPPORT_TEST_TOKEN"]
    done, members = dump(instance)
    assert json.loads(members["status.json"])["generation"] == instance.generation()
    assert json.loads(members["history.json"])["rows"] and "counters" in json.loads(members["stats.json"])
    assert "bad-net" in members["generation.json"].decode(), "the configuration, as written"
    assert "Max open files" in members["ternd.txt"].decode() and "VmRSS" in members["tern-control.txt"].decode()
    assert "MemTotal" in members["machine.txt"].decode() and "control.sock" in members["directories.txt"].decode()
    manifest = members["MANIFEST"].decode()
    for name in members:
        assert name == "MANIFEST" or name in manifest
        assert name == "MANIFEST" or name in done.stderr, "progress"
    assert not [line for line in manifest.splitlines() if "exit code" in line], manifest
    everything = b"\n".join(members.values())
    assert SECRET.encode() not in everything and b"SUPPORT_TEST_TOKEN=" not in everything


def test_it_works_with_either_process_dead(make_instance):
    instance = make_instance()
    control = instance.start_process("tern-control", "--config", str(instance.config_path),
                                     "--state-dir", str(instance.state_dir))
    ternd = instance.start_process("ternd")
    wait_until(instance.answers, "answers")
    control.kill()
    control.wait()
    _, members = dump(instance, "no-control.tar")
    assert "history.json" in members and "exit code 3" in members["MANIFEST"].decode()
    assert json.loads(members["stats.json"])["counters"]["requests"] > 0
    ternd.kill()
    ternd.wait()
    _, members = dump(instance, "nobody.tar")
    assert "directories.txt" in members


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(instance):
    path = instance.directory / "there"
    path.write_text("mine")
    done = instance.ctl("support-dump", path)
    assert done.returncode == 1 and "File exists" in done.stderr and path.read_text() == "mine"
    link = instance.directory / "link"
    link.symlink_to(instance.directory / "elsewhere")
    assert instance.ctl("support-dump", link).returncode == 1 and not (instance.directory / "elsewhere").exists()
    assert instance.ctl("support-dump", "/dev/full").returncode == 1
    done = instance.ctl("support-dump", run_dir=True, check=0)
    assert done.stdout.startswith("tern-support-2")
    assert tarfile.open(fileobj=io.BytesIO((instance.directory / done.stdout.split(":")[0]).read_bytes())).getnames()
