"""`make demo` keeps its word: every step of it checks what it says."""
import os
import subprocess

from instance import BUILD, ROOT


def test_demo():
    done = subprocess.run([ROOT / "scripts" / "demo"], env={**os.environ, "BUILD": str(BUILD)},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All as claimed" in done.stdout
