"""Mutants of a batch's way: intended, inserted, read back, trimmed, settled, unlinked."""

from .mutant import Mutant

UPSERT = "sync/upsert.py"
SEND = "sync/sending.py"

SENDING: tuple[Mutant, ...] = (
    Mutant(
        name="sent-before-intended",
        file=UPSERT,
        before="""\
            self._intend(batch, sending)
        return sending
""",
        after="""\
            sending.objects = {
                place: objects_of(batch, change, collection=self._collection.name, commit=None)
                for place, change in enumerate(batch.changes)
                if change.action is Action.WRITE
            }
            self._writer.insert(sending)
            self._intend(batch, sending)
        return sending
""",
        loses="killed in between, nobody knows that the store holds anything",
        tests=(
            "crash/test_promises.py::test_promise_04_intended_before_sent_settled_after_acknowledged",
            "crash/test_promises.py::test_promise_03_nothing_is_stale",
        ),
    ),
    Mutant(
        name="removed-before-inserted",
        file=UPSERT,
        before="""\
                self._writer.insert(sending)
                turn()
""",
        after="""\
                self._writer.remove(sending)
                self._writer.insert(sending)
                turn()
""",
        loses="a search meets a hole where the document was",
        tests=("crash/test_promises.py::test_promise_05_never_a_hole",),
    ),
    Mutant(
        name="settled-before-removed",
        file=UPSERT,
        before="""\
                self._writer.remove(sending)
                if sending.most:
                    self._work.check_incarnation()
                report = self._settle(batch, sending)
""",
        after="""\
                if sending.most:
                    self._work.check_incarnation()
                report = self._settle(batch, sending)
                self._writer.remove(sending)
""",
        loses="killed in between, chunks of the longer version stay for ever",
        tests=("crash/test_promises.py::test_promise_04_intended_before_sent_settled_after_acknowledged",),
    ),
    Mutant(
        name="not-read-back",
        file=UPSERT,
        before="                self._writer.read_back(sending)\n",
        after="",
        loses="an object that was acknowledged and is not there is called indexed",
        tests=("crash/test_read_back.py::test_what_was_acknowledged_and_not_kept_is_sent_again",),
    ),
    Mutant(
        name="read-back-by-id-alone",
        file=SEND,
        before="return [each for each in objects if held.get(each.id) != each.write_hash]",
        after="return [each for each in objects if each.id not in held]",
        loses="the object of an earlier version counts as the new one",
        tests=("crash/test_read_back.py::test_what_was_acknowledged_and_not_replaced_is_sent_again",),
    ),
    Mutant(
        name="known-without-its-document",
        file="sync/batch.py",
        before="{chunker}\\0{content_hash}\\0",
        after="{chunker}\\0",
        loses="a chunk that another version of the document has too, at other lines, is taken for this one's",
        tests=("crash/test_two_hosts.py::test_stopped_overtaken_and_woken[sending:1-newer_elsewhere]",),
    ),
    Mutant(
        name="interrupted-left-where-a-newer-version-comes",
        file=SEND,
        before="        if held := list(store.fetch_hashes(self._collection.name, again)):\n",
        after="""\
        hashes = {each.id: each.write_hash for some in sending.objects.values() for each in some}
        found = store.fetch_hashes(self._collection.name, again)
        if held := [each for each in found if found[each] == hashes[each]]:
""",
        loses="what a killed server holds and its vector index lacks is not found for ever, in the newer version too",
        tests=("crash/test_rewritten.py::test_what_an_interrupted_run_had_sent_goes_before_a_newer_version",),
    ),
    Mutant(
        name="hashes-trusted-whatever-the-store",
        file="sync/doubts.py",
        before="    trusts_hashes = work.store.rewrites_identical\n",
        after="    trusts_hashes = True\n",
        loses="what a server held and its index lacked when it died in a repair is not found for ever",
        tests=("crash/test_rewritten.py::test_a_suspect_document_is_mended_whatever_its_hashes_say",),
    ),
    Mutant(
        name="read-back-once",
        file=SEND,
        before="            if self._differing(differing):\n",
        after="            if False:\n",
        loses="what a store loses twice is called indexed",
        tests=("crash/test_read_back.py::test_what_is_lost_again_is_an_outage",),
    ),
    Mutant(
        name="lease-not-made-to-last",
        file=SEND,
        before="""\
            self._work.heartbeat.ensure(self._work.store.request_timeout_s + LEASE_MARGIN_S)
            rejections += \
""",
        after="            rejections += ",
        loses="a request arrives after another process has taken over",
        tests=("crash/test_lease_outlives.py::test_the_lease_outlives_every_request[upsert-intended-50.0]",),
    ),
    Mutant(
        name="lease-without-a-margin",
        file=SEND,
        before="LEASE_MARGIN_S = 5.0\n",
        after="LEASE_MARGIN_S = 0.0\n",
        loses="a request that takes its time to the last arrives after another process has taken over",
        tests=("crash/test_lease_outlives.py::test_the_lease_outlives_every_request[upsert-intended-38.0]",),
    ),
    Mutant(
        name="lease-not-made-to-last-for-a-delete",
        file=SEND,
        before="""\
        if leftovers.objects:
            self._work.heartbeat.ensure(store.request_timeout_s + LEASE_MARGIN_S)
""",
        after="        if leftovers.objects:\n",
        loses="a removal arrives after another process has taken over",
        tests=("crash/test_lease_outlives.py::test_the_lease_outlives_every_request[delete_objects-verified-50.0]",),
    ),
    Mutant(
        name="suspects-not-marked",
        file=UPSERT,
        before="                suspects.mark_documents_suspect(self._database, self._work.lease, sending.most)\n",
        after="                pass\n",
        loses="what an overtaken process had sent is called present",
        tests=("crash/test_taken_over.py::test_the_run_itself_is_taken_over",),
    ),
    Mutant(
        name="overtaken-and-another-error",
        file="sync/overtaken.py",
        before="        return claims.is_lost(database, lease)\n",
        after="        return False\n",
        loses="what an overtaken process had sent is called present, where its connection was closed too",
        tests=(
            "crash/test_taken_over.py::test_an_outage_is_met_by_one_that_was_overtaken",
            "crash/test_taken_over.py::test_an_outage_is_met_by_a_repair_that_was_overtaken",
        ),
    ),
    Mutant(
        name="late-writes-not-mended",
        file="sync/doubts.py",
        before="    if wrong:\n",
        after="    if False:\n",
        loses="what an overtaken process sent late stays, until somebody asks for a reconcile",
        tests=("crash/test_taken_over.py::test_a_newer_run_overtakes",),
    ),
    Mutant(
        name="incarnation-not-checked",
        file=UPSERT,
        before="""\
                if sending.most:
                    self._work.check_incarnation()
                report = """,
        after="                report = ",
        loses="what was written into a collection made anew is settled",
        tests=("crash/test_outage.py::test_the_collection_is_dropped_in_the_middle_of_a_run[made anew]",),
    ),
    Mutant(
        name="old-side-kept-where-the-new-one-is-superseded",
        file=UPSERT,
        before="            if change.action is Action.FAIL or place in sending.failures\n",
        after="""\
            if change.action in (Action.FAIL, Action.SUPERSEDED)
            or place in sending.failures
            or place in sending.superseded
""",
        loses="a document that was renamed stays under its old name too",
        tests=("integration/test_renames.py::test_the_old_side_goes_where_a_newer_run_has_the_new_one",),
    ),
    Mutant(
        name="old-side-removed-where-the-new-one-fails",
        file=UPSERT,
        before="            and change.planned.line not in sending.not_arrived\n",
        after="",
        loses="a rename whose new side cannot be had loses the document",
        tests=("integration/test_renames.py::test_the_old_side_stays_where_the_store_rejects_the_new_one",),
    ),
    Mutant(
        name="rejected-document-not-suspect",
        file=UPSERT,
        before="                    suspects.append((planned.repository, planned.path))\n",
        after="                    pass\n",
        loses="a mixture of two versions is not known as one",
        tests=("crash/test_outage.py::test_one_object_is_rejected",),
    ),
    Mutant(
        name="unlinked-before-settled",
        file=UPSERT,
        before="                self._writer.remove(sending)\n",
        after="""\
                batch_path(self._work.folder, batch.number).unlink(missing_ok=True)
                self._writer.remove(sending)
""",
        loses="killed in between, embeddings are paid for twice",
        tests=("crash/test_paid_once.py::test_stopped_at_any_point_no_text_is_embedded_again[removed]",),
    ),
    Mutant(
        name="writing-is-unchanged",
        file="sync/embed.py",
        before="row.state is not DocumentState.PRESENT or row.content_hash",
        after="row.content_hash",
        loses="killed after the insert, the next changeset takes the document for whole",
        tests=("crash/test_paid_once.py::test_what_was_being_written_is_never_unchanged",),
    ),
    Mutant(
        name="batch-file-not-checked",
        file="sync/batchfile.py",
        before="        if hashlib.sha256(content).digest() != digest:\n            return None\n",
        after="",
        loses="damaged vectors are written",
        tests=("unit/test_batchfile.py::test_a_damaged_file_counts_as_absent",),
    ),
    Mutant(
        name="batch-file-of-other-lines",
        file="sync/batchfile.py",
        before="    return batch if [change.planned for change in batch.changes] == planned else None\n",
        after="    return batch\n",
        loses="a batch of other lines is settled in the place of these",
        tests=("unit/test_batchfile.py::test_other_lines_another_model_and_another_chunker_find_nothing",),
    ),
    Mutant(
        name="unsure-removed-by-id-alone",
        file="sync/leftovers.py",
        before="        if not (change.chunks or _is_sure(collection, verdict)):\n",
        after="        if False:\n",
        loses="chunks beyond those that the ledger knows of outlive their document",
        tests=("integration/test_removal.py::test_what_is_suspect_goes_whole_and_shrinks_by_id",),
    ),
)
