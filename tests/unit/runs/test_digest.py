from __future__ import annotations

import os

import pytest

from assent.errors import RunError
from assent.runs.digest import digest_file, digest_json, digest_path


def test_json():
    assert digest_json({"a": 1, "b": [1.5, None]}) == digest_json({"b": [1.5, None], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": "1"})
    with pytest.raises(ValueError):
        digest_json(float("nan"))


def test_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.txt").write_text("one")
    before = digest_path(tmp_path / "a")
    assert digest_file(tmp_path / "a/x.txt") == (
        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # printf one | sha256sum
    )
    (tmp_path / "a/manifest.json").write_text("{}")
    assert digest_path(tmp_path / "a") == before
    (tmp_path / "a/x.txt").rename(tmp_path / "a/y.txt")
    assert digest_path(tmp_path / "a") != before


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "x"
    file.write_text("one")
    before = digest_file(file)
    stamp = file.stat().st_mtime_ns
    file.write_text("two")
    os.utime(file, ns=(stamp, stamp))
    assert digest_file(file) != before


def test_links_cannot_hang_us(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunError, match="gone: cannot be read"):
        digest_path(tmp_path)
    (tmp_path / "gone").unlink()
    assert digest_path(tmp_path)
