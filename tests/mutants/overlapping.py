"""Mutants of batches that are under way at once: who waits for whom, and who is told of what."""

from .mutant import Mutant

UPSERT = "sync/upsert.py"
BACKGROUND = "sync/background.py"
PIPELINE = "integration/test_batches_side_by_side.py"

OVERLAPPING: tuple[Mutant, ...] = (
    Mutant(
        name="document-in-two-batches-at-once",
        file=UPSERT,
        before="        return any(not documents.isdisjoint(others) for others in self._in_hand)\n",
        after="        return False\n",
        loses="a document that a retried folder line names again is sent twice at once, and the run stops",
        tests=(f"{PIPELINE}::test_a_document_that_two_batches_change_is_in_one_at_a_time",),
    ),
    Mutant(
        name="next-batch-not-marked",
        file=UPSERT,
        before="""\
                    with self._ownership_told(sending):
                        while background.is_full:
                            yield self._counted(background)
""",
        after="""\
                    while background.is_full:
                        yield self._counted(background)
""",
        loses="overtaken with batches under way, the documents of the one that is only intended are not suspect",
        tests=(f"{PIPELINE}::test_overtaken_with_three_batches_in_hand_all_are_suspect",),
    ),
    Mutant(
        name="stopped-without-what-is-under-way",
        file=UPSERT,
        before="""\
                while background.has_tasks:
                    yield self._counted(background)
                raise
""",
        after="                raise\n",
        loses="a batch that is settled while somebody asks to stop is not told",
        tests=(f"{PIPELINE}::test_asked_to_stop_what_is_under_way_is_finished_and_told",),
    ),
    Mutant(
        name="settled-out-of-turn",
        file=UPSERT,
        before="                turn()\n",
        after="",
        loses="a line that has changes in two batches is settled by the later one alone",
        tests=(
            f"{PIPELINE}::test_inserted_side_by_side_and_settled_in_their_order",
            f"{PIPELINE}::test_a_batch_that_fails_while_the_next_is_inserted",
        ),
    ),
    Mutant(
        name="turn-comes-whatever-was-before",
        file=BACKGROUND,
        before="                before.result()\n",
        after="                before.exception()\n",
        loses="a batch is settled, and the one before it has failed",
        tests=(
            "unit/test_background.py::test_a_turn_raises_what_the_task_before_did",
            f"{PIPELINE}::test_a_batch_that_fails_while_the_next_is_inserted",
        ),
    ),
    Mutant(
        name="one-more-batch-at-once",
        file=BACKGROUND,
        before="        return len(self._tasks) >= max(1, self._threads)\n",
        after="        return len(self._tasks) > max(1, self._threads)\n",
        loses="more batches are in memory than was said",
        tests=("unit/test_background.py::test_no_more_tasks_than_asked_for",),
    ),
    Mutant(
        name="background-not-awaited",
        file=BACKGROUND,
        before="            self._pool.shutdown()\n",
        after="            self._pool.shutdown(wait=False)\n",
        loses="a batch is settled after its run's lease was given back",
        tests=(
            "unit/test_background.py::test_its_block_ends_when_the_tasks_have_ended",
            f"{PIPELINE}::test_who_wants_no_more_reports_leaves_a_run_that_can_be_resumed",
        ),
    ),
    Mutant(
        name="later-error-told",
        file=BACKGROUND,
        before="                    raise earlier from error\n",
        after="                    pass\n",
        loses="of two errors the one that came of the other is told",
        tests=("unit/test_background.py::test_of_two_errors_the_earlier_tasks_is_told",),
    ),
    Mutant(
        name="stale-batch-not-made-anew",
        file=UPSERT,
        before="            return self._apply(self._intended(self._make_anew(batch.number)), turn, is_anew=True)\n",
        after="            raise\n",
        loses="a document that changed since its batch was prepared ends the run",
        tests=(f"{PIPELINE}::test_a_batch_that_went_stale_is_made_anew",),
    ),
    Mutant(
        name="stale-batch-s-lines-not-taken-back",
        file=UPSERT,
        before="            self._tracker.take_back_batch()\n",
        after="",
        loses="a line of several batches is completed, and a change of it had failed",
        tests=(f"{PIPELINE}::test_a_line_that_began_in_another_batch_than_the_stale_one_keeps_its_failure",),
    ),
)
