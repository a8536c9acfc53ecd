"""How many failures are too many: a number of lines, or a share of those that are settled."""

import pytest

from elysia_dagster.errors import UsageError
from elysia_dagster.sync.budget import FailureBudget, FailureLimit


@pytest.mark.parametrize(
    ("text", "settled", "failed", "passed"),
    [
        ("0", 1, 0, False),
        ("0", 1, 1, True),
        ("25", 10**6, 25, False),
        ("25", 26, 26, True),
        ("50%", 99, 99, False),  # too few to tell
        ("50%", 100, 50, False),
        ("50%", 100, 51, True),
        ("0.1%", 999, 999, False),  # one failure of them would be more than that
        ("0.1%", 1000, 1, False),
        ("0.1%", 1000, 2, True),
        ("2.5%", 1000, 25, False),
        ("2.5%", 1000, 26, True),
        ("100%", 10**6, 10**6, False),
    ],
)
def test_what_is_too_many(text: str, settled: int, failed: int, passed: bool) -> None:
    limit = FailureLimit.parse(text)
    assert limit is not None
    assert str(limit) == text
    assert limit.is_passed(settled=settled, failed=failed) is passed


@pytest.mark.parametrize("text", ["-1", "1.5", "0%", "101%", "ten", "5 %", "%", "٣", "1e3", "nan%", "5%%", " 5"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"Mend --max-failures") as wrong:
        FailureLimit.parse(text)
    assert wrong.value.exit_code == 2


def test_without_a_limit_nothing_is_too_much() -> None:
    budget = FailureBudget(FailureLimit.parse(""))
    budget.count(settled=10**6, failed=10**6)
    assert not budget.is_spent


def test_one_failure_is_never_more_than_a_share() -> None:
    for share in ("0.01%", "0.7%", "1%", "3%", "33%", "99%"):
        limit = FailureLimit.parse(share)
        assert limit is not None
        assert not any(limit.is_passed(settled=settled, failed=1) for settled in range(1, 20_000))
