"""A file's name stands for the whole file or for none; what is used up is said as such."""

import errno
from pathlib import Path

import pytest

from elysia_dagster.errors import ResourceExhausted
from elysia_dagster.sync.files import folder_bytes, resources_named, write_aside


def test_the_name_appears_when_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.arrow"
    with write_aside(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.arrow"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_was_not_finished_leaves_the_one_before(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "plan.arrow"
    path.write_bytes(b"before")

    def write_half() -> None:
        with write_aside(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["plan.arrow"]


def raising(number: int) -> None:
    with resources_named("the spool"):
        raise OSError(number, "as the system says it")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_is_used_up_is_transient_and_names_the_file(number: int) -> None:
    with pytest.raises(ResourceExhausted, match=r"Cannot write the spool: .* Free what is used up") as used_up:
        raising(number)
    assert used_up.value.exit_code == 3


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    with pytest.raises(IsADirectoryError):
        raising(errno.EISDIR)


def test_bytes_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"678")
    (tmp_path / "link").symlink_to("missing")
    assert folder_bytes(tmp_path) >= 8
    assert folder_bytes(tmp_path / "missing") == 0
