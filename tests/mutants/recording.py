"""Mutants of the checkpoint: what a transition looks at, what it writes, and what in one transaction."""

from .mutant import Mutant

LEDGER = "checkpoint/ledger.py"
LINES = "checkpoint/lines.py"
CLAIMS = "checkpoint/claims.py"
OVERTAKEN = "unit/test_claims.py::test_whatever_an_overtaken_process_still_tries_changes_nothing"

RECORDING: tuple[Mutant, ...] = (
    Mutant(
        name="version-not-compared",
        file=LEDGER,
        before="            if before is not None and before.version > (lease.sequence, each.line):\n",
        after="            if False:\n",
        loses="an older run that comes late writes over a newer one",
        tests=(
            "unit/test_ledger.py::test_an_older_run_is_superseded_and_moves_nothing[sqlite]",
            "unit/test_ledger.py::test_an_older_line_of_the_same_run_is_superseded[sqlite]",
        ),
    ),
    Mutant(
        name="token-not-checked-to-intend",
        file=LEDGER,
        before="        check_token(connection, lease)\n        known = _fetch",
        after="        known = _fetch",
        loses="an overtaken process sends",
        tests=(f"{OVERTAKEN}[sqlite-intend]",),
    ),
    Mutant(
        name="token-not-checked-to-settle",
        file=LINES,
        before='.where(sync_runs.c.run_id == bindparam("b_run"), sync_runs.c.lease_token == bindparam("b_token"))',
        after='.where(sync_runs.c.run_id == bindparam("b_run"))',
        loses="an overtaken process settles lines",
        tests=(f"{OVERTAKEN}[sqlite-settle lines]",),
    ),
    Mutant(
        name="token-not-checked-to-clear",
        file="checkpoint/suspects.py",
        before="        check_token(connection, lease)\n",
        after="",
        loses="an overtaken process clears suspects",
        tests=(f"{OVERTAKEN}[sqlite-clear suspicion]",),
    ),
    Mutant(
        name="token-not-checked-to-finish",
        file="checkpoint/runs.py",
        before="        check_token(connection, lease)\n        run = load_within",
        after="        run = load_within",
        loses="an overtaken process closes the run",
        tests=("unit/test_claims.py::test_an_overtaken_process_does_not_close_a_run_that_is_settled[sqlite]",),
    ),
    Mutant(
        name="token-not-grown",
        file=CLAIMS,
        before="        token = current.lease_token + 1\n",
        after="        token = max(1, current.lease_token)\n",
        loses="an overtaken process is not told from the one that took over",
        tests=(f"{OVERTAKEN}[sqlite-intend]",),
    ),
    Mutant(
        name="most-chunks-not-raised",
        file=LEDGER,
        before="            most = max(each.chunks, before.max_chunks if before else 0)\n",
        after="            most = each.chunks\n",
        loses="chunks of a longer version are not removed",
        tests=("unit/test_ledger.py::test_settled_is_present_with_just_its_chunks[sqlite]",),
    ),
    Mutant(
        name="most-chunks-of-a-suspect-not-raised",
        file="checkpoint/suspects.py",
        before="case((documents.c.max_chunks < most, most), else_=documents.c.max_chunks)",
        after="documents.c.max_chunks",
        loses="what an overtaken process sent beyond the new end is never removed",
        tests=("unit/test_ledger.py::test_an_overtaken_process_marks_its_documents_suspect_without_the_token[sqlite]",),
    ),
    Mutant(
        name="suspects-need-the-token",
        file="checkpoint/suspects.py",
        before="        for (repository, path), most in most_chunks.items():\n",
        after="        check_token(connection, lease)\n        for (repository, path), most in most_chunks.items():\n",
        loses="a process that has lost its lease cannot say what it has sent",
        tests=("unit/test_ledger.py::test_an_overtaken_process_marks_its_documents_suspect_without_the_token[sqlite]",),
    ),
    Mutant(
        name="settled-whoever-wrote-last",
        file=LEDGER,
        before="""\
            documents.c.version_sequence == of("b_sequence"),
            documents.c.version_line == of("b_line"),
        )
""",
        after="        )\n",
        loses="an older run settles what a newer one is writing",
        tests=("unit/test_ledger.py::test_a_settle_whose_document_is_another_runs_by_now_is_refused_whole[sqlite]",),
    ),
    Mutant(
        name="unchanged-whatever-its-state",
        file=LEDGER,
        before="""\
            documents.c.state == of("b_state"),
            documents.c.content_hash""",
        after="            documents.c.content_hash",
        loses="a document that became suspect meanwhile is called unchanged",
        tests=(
            "unit/test_ledger.py::test_unchanged_is_stale_where_the_document_is_no_longer_what_it_was[sqlite-writing]",
            "unit/test_ledger.py::test_unchanged_is_stale_where_the_document_is_no_longer_what_it_was[sqlite-suspect]",
        ),
    ),
    Mutant(
        name="lines-and-documents-apart",
        file=LEDGER,
        before="""\
        written = [each for each in settlements if each.is_written]
        unsent = [each for each in settlements if not each.is_written]
        settle_lines(connection, lease, completed=completed, failed=failed)
""",
        after="""\
        settle_lines(connection, lease, completed=completed, failed=failed)
    with database.write() as connection:
        written = [each for each in settlements if each.is_written]
        unsent = [each for each in settlements if not each.is_written]
""",
        loses="lines are completed whose documents are not settled",
        tests=("unit/test_ledger.py::test_a_settle_whose_document_is_another_runs_by_now_is_refused_whole[sqlite]",),
    ),
    Mutant(
        name="counters-apart-from-their-rows",
        file=LINES,
        before="    if moved.rowcount != 1:\n        raise lease_lost(lease)\n    if mended:\n",
        after="""\
    if moved.rowcount != 1:
        raise lease_lost(lease)
    connection.commit()
    if mended:
""",
        loses="killed in between, the counters are not the numbers of rows",
        tests=("unit/test_lines.py::test_the_same_line_is_not_completed_twice[sqlite]",),
    ),
    Mutant(
        name="mended-line-counted-twice",
        file=LINES,
        before='            "b_errors": new_failures - len(mended),\n',
        after='            "b_errors": new_failures,\n',
        loses="a line that was mended counts as failed too",
        tests=("unit/test_lines.py::test_counters_are_true_whatever_is_settled_failed_and_tried_again[sqlite]",),
    ),
    Mutant(
        name="outage-counts-as-a-try",
        file="checkpoint/runs.py",
        before="        connection.execute(update(failed_lines).where(*condition).values(pending=True))\n",
        after="""\
        connection.execute(
            update(failed_lines).where(*condition).values(pending=True, retry_count=failed_lines.c.retry_count + 1)
        )
""",
        loses="an outage uses up the tries of a line",
        tests=("crash/test_outage.py::test_an_outage_moves_no_retry_count",),
    ),
    Mutant(
        name="older-failures-not-answered",
        file=LEDGER,
        before="        if answers_older_failures and settlements:\n",
        after="        if False:\n",
        loses="a line that failed stays failed when its document has come",
        tests=("crash/test_retried.py::test_a_newer_changeset_answers_what_failed",),
    ),
    Mutant(
        name="newer-failures-answered",
        file=LINES,
        before="                sync_runs.c.sequence < lease.sequence,\n",
        after="",
        loses="an older run that comes late completes what a newer one failed at",
        tests=("unit/test_lines.py::test_some_failed_lines_are_not_answered[sqlite-newer]",),
    ),
    Mutant(
        name="living-run-overtaken",
        file=CLAIMS,
        before="            if holder := live_holder(other, lease.owner.host):\n",
        after="            if (holder := live_holder(other, lease.owner.host)) and False:\n",
        loses="two processes write one repository",
        tests=("unit/test_claims.py::test_claims_are_taken_all_or_none[sqlite]",),
    ),
    Mutant(
        name="claims-one-by-one",
        file=CLAIMS,
        before="""\
            if holder := live_holder(other, lease.owner.host):
                raise RepositoriesHeld(
""",
        after="""\
            if holder := live_holder(other, lease.owner.host):
                claim_free = insert(repository_claims)
                for each in sorted(repositories - {row.repository for row in held}):
                    connection.execute(
                        claim_free.values(
                            collection_id=lease.collection_id,
                            repository=each,
                            run_id=lease.run_id,
                            claimed_at=clock.stamp(),
                        )
                    )
                connection.commit()
                raise RepositoriesHeld(
""",
        loses="a run that is refused holds up others",
        tests=("unit/test_claims.py::test_claims_are_taken_all_or_none[sqlite]",),
    ),
    Mutant(
        name="overtaken-writing-not-suspect",
        file=CLAIMS,
        before="        mark_suspect(connection, run)\n",
        after="        pass\n",
        loses="what a process may still write after its lease has expired is trusted",
        tests=("unit/test_claims.py::test_a_take_over_by_expiry_makes_what_was_in_writing_suspect[sqlite]",),
    ),
    Mutant(
        name="boot-not-compared",
        file="checkpoint/owner.py",
        before="        if self.host.boot_id != host.boot_id:\n",
        after="        if False:\n",
        loses="after a reboot another process of the same pid holds the run",
        tests=("unit/test_owner.py::test_what_can_be_told_of_others",),
    ),
    Mutant(
        name="start-time-not-compared",
        file="checkpoint/owner.py",
        before="if self.started and _start_time(self.pid) == self.started else",
        after="if self.started and _start_time(self.pid) is not None else",
        loses="a later process that got the pid of a dead one holds its run",
        tests=("unit/test_owner.py::test_what_can_be_told_of_others",),
    ),
    Mutant(
        name="lease-by-the-wall-clock-alone",
        file="checkpoint/heartbeat.py",
        before="max((clock.now() - self._renewed_at).total_seconds(), time.monotonic() - self._renewed_monotonic)",
        after="(clock.now() - self._renewed_at).total_seconds()",
        loses="a clock that is set back makes a lease seem to last",
        tests=("unit/test_claims.py::test_a_lease_is_renewed_in_time_whatever_the_clock_says",),
    ),
    Mutant(
        name="unsettled-run-ends",
        file="checkpoint/runs.py",
        before="            if pending or completed + failed != run.total_lines:\n",
        after="            if False:\n",
        loses="a run ends as completed and a line was never looked at",
        tests=(
            "crash/test_promises.py::test_promise_01_nothing_is_lost",
            "unit/test_runs.py::test_a_run_with_an_unsettled_line_cannot_end[sqlite]",
        ),
    ),
    Mutant(
        name="tombstone-not-kept",
        file="checkpoint/retention.py",
        before="            .where(true() if oldest is None else documents.c.version_sequence < oldest)\n",
        after="",
        loses="an older run that comes late brings a removed document back",
        tests=(
            "unit/test_retention.py::test_tombstones_go_up_to_the_oldest_run_that_can_still_write[sqlite-unfinished]",
        ),
    ),
    Mutant(
        name="commit-goes-back",
        file="checkpoint/collections.py",
        before="    if before is not None and before.sequence > sequence:\n        return None\n",
        after="",
        loses="a late retry of an older run moves a repository's commit back",
        tests=("crash/test_promises_continued.py::test_promise_10_a_repositorys_commit_tells_the_truth",),
    ),
)
