"""Settings: every one by both spellings, what cannot be read named, secrets kept, one state folder and no second."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from elysia_dagster import settings as module
from elysia_dagster.errors import CheckpointError, UsageError
from elysia_dagster.settings import DATABASE_NAME, Settings
from elysia_dagster.sync.notify import secrets_of

VALUES = {str: ("some text", "some text"), int: ("17", 17), float: ("2.5", 2.5)}
SECRET = "sk-very-secret"


@pytest.mark.parametrize("prefix", ["ELYSIACTL_", "elysiactl_"])
@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_read_by_both_spellings(field: object, prefix: str) -> None:
    choices = field.metadata["choices"]  # type: ignore[attr-defined]
    text, value = (choices[0], choices[0]) if choices else VALUES[field.type]  # type: ignore[attr-defined]
    name = field.metadata["variable"]  # type: ignore[attr-defined]
    found = Settings.from_environment({f"{prefix}{name}": text, "UNRELATED": "1"})
    assert getattr(found, field.name) == value  # type: ignore[attr-defined]
    others = {each.name for each in fields(Settings)} - {field.name}  # type: ignore[attr-defined]
    assert all(getattr(found, other) == getattr(Settings(), other) for other in others)
    assert field.metadata["meaning"]  # type: ignore[attr-defined]


def test_capitals_come_first_and_empty_is_unset() -> None:
    both = {"ELYSIACTL_COLLECTION": "Upper", "elysiactl_COLLECTION": "Lower"}
    assert Settings.from_environment(both).collection == "Upper"
    assert Settings.from_environment({**both, "ELYSIACTL_COLLECTION": ""}).collection == "Lower"
    assert Settings.from_environment({"ELYSIACTL_BATCH_SIZE": ""}).batch_size == 200


def test_names_that_people_rely_on() -> None:
    defaults = {each.metadata["variable"]: each.default for each in fields(Settings)}
    assert defaults["MAX_RETRY_ATTEMPTS"] == 3
    assert defaults["CHECKPOINT_CLEANUP_DAYS"] == 7
    assert defaults["SQLITE_TIMEOUT"] == 30.0
    assert defaults["COLLECTION"] == "SRC_ENTERPRISE__"
    assert {"CHECKPOINT_DB_DIR", "ROOT", "STORE", "EMBEDDER", "BATCH_SIZE"} <= defaults.keys()
    assert defaults["MAX_LINE_BYTES"] == 64 << 20
    assert defaults["MAX_DOCUMENT_BYTES"] == 10 << 20


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATCH_SIZE", "many"),
        ("BATCH_SIZE", "1.5"),
        ("BATCH_SIZE", "0"),
        ("BATCH_SIZE", "-1"),
        ("SQLITE_TIMEOUT", "nan"),
        ("SQLITE_TIMEOUT", "inf"),
        ("LEASE", "1e99"),
        ("CHECKPOINT_CLEANUP_DAYS", "week"),
        ("CHECKPOINT_CLEANUP_DAYS", "-1"),
        ("CHECKPOINT_CLEANUP_DAYS", "nan"),
        ("CHECKPOINT_CLEANUP_DAYS", "36501"),
        ("MAX_RETRY_ATTEMPTS", "-1"),
    ],
)
@pytest.mark.parametrize("prefix", ["ELYSIACTL_", "elysiactl_"])
def test_a_bad_number_is_named_with_its_variable(prefix: str, name: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"{name}='{text}'") as wrong:
        Settings.from_environment({f"{prefix}{name}": text})
    assert wrong.value.exit_code == 2


@pytest.mark.parametrize("text", ["one", "One", "ONE"])
def test_how_many_replicas_answer_is_read_in_any_case(text: str) -> None:
    assert Settings.from_environment({"ELYSIACTL_WEAVIATE_CONSISTENCY": text}).weaviate_consistency == "ONE"


@pytest.mark.parametrize("text", ["MOST", "QUORUM ", "1"])
def test_another_number_of_replicas_is_named_with_its_variable(text: str) -> None:
    with pytest.raises(UsageError, match=f"ELYSIACTL_WEAVIATE_CONSISTENCY='{text}' is none of ONE, QUORUM, ALL"):
        Settings.from_environment({"ELYSIACTL_WEAVIATE_CONSISTENCY": text})


@pytest.mark.parametrize(("variable", "name"), [("WCD_URL", "weaviate_url"), ("WCD_API_KEY", "weaviate_api_key")])
def test_what_other_programs_set_is_read_where_ours_is_not(variable: str, name: str) -> None:
    assert getattr(Settings.from_environment({variable: "theirs"}), name) == "theirs"
    both = {variable: "theirs", f"ELYSIACTL_{name.upper()}": "ours"}
    assert getattr(Settings.from_environment(both), name) == "ours"
    assert getattr(Settings.from_environment({**both, f"ELYSIACTL_{name.upper()}": ""}), name) == "theirs"


def test_no_retry_and_no_day_are_settings_too() -> None:
    none = Settings.from_environment({"ELYSIACTL_MAX_RETRY_ATTEMPTS": "0", "ELYSIACTL_CHECKPOINT_CLEANUP_DAYS": "0"})
    assert (none.max_retry_attempts, none.checkpoint_cleanup_days) == (0, 0)


def test_secrets_are_not_shown() -> None:
    secret = Settings(
        openai_api_key=SECRET,
        weaviate_api_key=SECRET,
        checkpoint_db_url=f"postgresql+psycopg://me:{SECRET}@host/name",
    )
    assert SECRET not in repr(secret)
    assert SECRET not in str(secret)
    assert {each.name for each in fields(Settings) if each.metadata["secret"]} == {
        "openai_api_key",
        "weaviate_api_key",
        "checkpoint_db_url",
        "notify_url",
    }
    assert all(each.repr is not each.metadata["secret"] for each in fields(Settings))


def test_what_may_stand_in_no_text() -> None:
    settings = Settings(
        openai_api_key=SECRET,
        notify_url="https://host/hook",
        checkpoint_db_url="postgresql+psycopg://me:p%40ss@host/name",
    )
    assert set(secrets_of(settings)) == {SECRET, "https://host/hook", settings.checkpoint_db_url, "p@ss"}
    assert secrets_of(Settings()) == []


KEYS = ["ELYSIACTL_WEAVIATE_API_KEY", "elysiactl_WEAVIATE_API_KEY", "WCD_API_KEY", "ELYSIACTL_OPENAI_API_KEY"]


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize("around", [f"{SECRET}\n", f"\r\n {SECRET}\t\r\n"])
def test_white_space_around_a_key_is_left_out(variable: str, around: str) -> None:
    found = Settings.from_environment({variable: around})
    assert SECRET in (found.weaviate_api_key, found.openai_api_key)


@pytest.mark.parametrize("variable", KEYS)
@pytest.mark.parametrize("wrong", [f"{SECRET}\n{SECRET}", f"{SECRET}\0", f"{SECRET}\u00e9", f"\udcff{SECRET}"])
def test_what_cannot_be_a_key_is_told_by_its_variable_and_never_shown(variable: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=f"^{variable} ") as error:
        Settings.from_environment({variable: wrong})
    assert error.value.exit_code == 2
    assert SECRET not in f"{error.value!s} {error.value!r} {error.value.next_step}"
    assert error.value.__cause__ is None


def test_the_databases_address_may_hold_whatever_it_likes() -> None:
    url = "postgresql+psycopg://me:p\u00e4ss@host/name"
    assert Settings.from_environment({"ELYSIACTL_CHECKPOINT_DB_URL": url}).checkpoint_db_url == url


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's state folder, in the test's own: not there yet, but its parent is. The user's is beside it."""
    place = tmp_path / "var" / "elysiactl"
    place.parent.mkdir()
    monkeypatch.setattr(module, "SYSTEM_STATE_FOLDER", place)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    return place


def deny(monkeypatch: pytest.MonkeyPatch, *denied: Path, what: int = os.W_OK) -> None:
    """Rights as somebody else than root has them: root may do everything, so they are told here."""
    access, mkdir = os.access, Path.mkdir

    def told(path: os.PathLike[str], mode: int) -> bool:
        return not (mode & what and Path(path) in denied) and access(path, mode)

    def make(self: Path, *arguments: object, **options: object) -> None:
        if self.parent in denied and not self.exists():
            raise PermissionError(13, "Permission denied")
        mkdir(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "access", told)
    monkeypatch.setattr(Path, "mkdir", make)


def test_the_systems_folder_is_made_where_it_can_be(system: Path) -> None:
    assert Settings().state_folder() == (system, "")
    assert system.is_dir()
    assert system.stat().st_mode & 0o777 == 0o700


def test_the_users_folder_is_taken_and_said_where_the_systems_cannot_be_made(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, system.parent)
    folder, note = Settings().state_folder()
    assert folder == tmp_path / "mine" / "elysiactl"
    assert str(folder) in note
    assert str(system) in note
    assert Settings().find_database() is None
    (folder / DATABASE_NAME).touch()
    assert Settings().find_database() == folder / DATABASE_NAME


def test_a_systems_folder_that_is_empty_and_not_writable_is_left_alone(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.mkdir()
    deny(monkeypatch, system)
    assert Settings().state_folder()[0] == tmp_path / "mine" / "elysiactl"


def test_a_systems_folder_that_holds_a_database_is_never_replaced_by_a_second_state(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.mkdir()
    (system / DATABASE_NAME).touch()
    deny(monkeypatch, system)
    with pytest.raises(CheckpointError, match="cannot be written by this user"):
        Settings().state_folder()
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_looked_into_may_hold_a_state(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system.mkdir()
    deny(monkeypatch, system, what=os.X_OK)
    with pytest.raises(CheckpointError, match="cannot be written"):
        Settings().state_folder()
    with pytest.raises(CheckpointError, match="cannot be written"):
        Settings().find_database()


def test_a_named_folder_is_made_or_the_error_says_why(system: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "deep" / "state"
    assert Settings(checkpoint_db_dir=str(chosen)).state_folder() == (chosen, "")
    assert not system.exists()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be made"):
        Settings(checkpoint_db_dir=str(tmp_path / "file" / "state")).state_folder()


def test_a_database_by_url_is_found_by_it() -> None:
    assert Settings(checkpoint_db_url="postgresql://x/y").find_database() == "postgresql://x/y"
