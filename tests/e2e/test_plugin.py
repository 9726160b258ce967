"""A third party's package joins by being installed: the walk-through of CONTRIBUTING."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parent / "toy_plugin"


def test_an_installed_plugin_is_listed_by_the_console_script(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(PLUGIN, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True)
    for kind, name in (("methods", "toy"), ("tables", "toy-depth"), ("presets", "discs")):
        assert name in listed(kind, site).stdout.split()


def test_plugins_that_fail_are_listed_with_the_reason(tmp_path: Path) -> None:
    package = tmp_path / "site" / "broken_plugin.py"
    package.parent.mkdir()
    package.write_text("raise RuntimeError('needs a newer driver')\n")
    info = package.parent / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gan3d_bench.methods]\nbroken = broken_plugin:SPEC\ngan2shape = broken_plugin:SPEC\n"
    )
    found = listed("methods", package.parent)
    assert found.returncode == 0
    assert "gan2shape" in found.stdout
    assert "left out: broken: RuntimeError: needs a newer driver (broken-plugin)" in found.stderr
    assert "left out: gan2shape (broken-plugin): its name is already taken" in found.stderr


def listed(kind: str, site: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).with_name("gan3d-bench")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([script, "list", kind], capture_output=True, text=True, env=environment)
