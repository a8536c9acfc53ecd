"""Errors: one tree, exit codes that scripts rely on, and the same error on the other side of a process's border."""

import pickle

import pytest

from elysia_dagster import errors
from elysia_dagster.errors import ElysiaError, LineError, PermanentError, TransientError
from elysia_dagster.sync.confine import SymbolicLink
from elysia_dagster.sync.spool import incomplete_input

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ElysiaError)]

EXIT_CODES = {
    "StoreUnavailable": 3,
    "EmbedderUnavailable": 3,
    "ResourceExhausted": 3,
    "RepositoriesHeld": 4,
    "LeaseLost": 4,
    "Interrupted": 130,
    "UsageError": 2,
    "InputError": 2,
    "CollectionMismatch": 2,
    "CheckpointError": 2,
    "FailureBudgetSpent": 2,
    "LineError": 2,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_pickles_with_all_that_it_says(kind: type[ElysiaError]) -> None:
    error = kind("Line 7 cannot be applied.", next_step="Mend it.", run_id="r", line=7)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == "Line 7 cannot be applied. Mend it."
    assert (again.message, again.next_step) == (error.message, error.next_step)
    assert again.ids.items() >= {"run_id": "r", "line": 7}.items()


@pytest.mark.parametrize("permanent", [True, False])
def test_a_line_error_keeps_whether_a_second_try_can_help(permanent: bool) -> None:
    again = pickle.loads(pickle.dumps(LineError("no", permanent=permanent)))
    assert again.permanent is permanent
    assert again.ids == {"permanent": permanent}


def test_a_symbolic_link_keeps_where_it_leads() -> None:
    again = pickle.loads(pickle.dumps(SymbolicLink("no", inside=True)))
    assert (type(again), again.inside, again.permanent) == (SymbolicLink, True, True)


def test_exit_codes_are_what_scripts_rely_on() -> None:
    assert {kind.__name__: kind.exit_code for kind in KINDS if kind.__name__ in EXIT_CODES} == EXIT_CODES
    for kind in KINDS:
        if kind is not ElysiaError:
            assert issubclass(kind, TransientError | PermanentError)


def test_every_error_is_in_the_tree_at_the_top_of_the_module() -> None:
    assert errors.__doc__ is not None
    assert all(f"``{kind.__name__}``" in errors.__doc__ for kind in KINDS)


def test_an_error_without_a_next_step_ends_with_its_message() -> None:
    assert str(TransientError("It is busy.")) == "It is busy."
    assert incomplete_input().exit_code == 130
