"""Mutants of what surrounds a batch: files on disk, leases, what a run is, dry runs, ids."""

from .mutant import Mutant

FILES = "sync/files.py"
DURABLE = "unit/test_durable_files.py"

KEEPING: tuple[Mutant, ...] = (
    Mutant(
        name="not-written-aside",
        file=FILES,
        before='    aside = path.with_name(f".{path.name}.{os.getpid()}.part")\n',
        after="    aside = path\n",
        loses="killed in between, a file's name stands for half of it",
        tests=("unit/test_files.py::test_the_name_appears_when_the_file_is_whole",),
    ),
    Mutant(
        name="renamed-before-synced",
        file=FILES,
        before="                os.fsync(file.fileno())\n",
        after="",
        loses="after a power failure a file's name stands for nothing",
        tests=(f"{DURABLE}::test_written_aside_is_synced_then_renamed_then_its_folder_synced",),
    ),
    Mutant(
        name="rename-not-synced",
        file=FILES,
        before="        sync_folder(path.parent)\n",
        after="",
        loses="after a power failure a batch that was paid for is gone",
        tests=(f"{DURABLE}::test_written_aside_is_synced_then_renamed_then_its_folder_synced",),
    ),
    Mutant(
        name="spool-not-synced",
        file="sync/spool.py",
        before="        os.fsync(file.fileno())\n",
        after="",
        loses="after a power failure a run is there whose input is not",
        tests=(f"{DURABLE}::test_the_spool_is_on_the_disk_before_a_run_names_it",),
    ),
    Mutant(
        name="spool-s-folder-not-synced",
        file="sync/read.py",
        before="    os.rename(incoming, folder)\n    sync_folder(folder.parent)\n",
        after="    os.rename(incoming, folder)\n",
        loses="after a power failure a run is there whose input is not",
        tests=(f"{DURABLE}::test_the_spool_is_on_the_disk_before_a_run_names_it",),
    ),
    Mutant(
        name="intended-and-not-on-the-disk",
        file="checkpoint/ledger.py",
        before="database.write(durable=True)",
        after="database.write()",
        loses="after a power failure the store holds what nobody knows of",
        tests=("crash/test_power_lost.py::test_power_lost",),
    ),
    Mutant(
        name="old-versions-go-before-the-compacted-is-synced",
        file="stores/lancedb_maintenance.py",
        before="            FileSyncer(place).sync()\n",
        after="",
        loses="after a power failure nothing is left of a LanceDB table",
        tests=("integration/test_lancedb_power_loss.py::test_compaction_is_on_the_disk_before_old_versions_go",),
    ),
    Mutant(
        name="settled-before-the-store-s-files-are-synced",
        file="stores/lancedb_tables.py",
        before="""\
            retrying(attempt, refresh=lambda: self._forget(collection))
            self._sync(collection)
            self._look_after(collection, lock)
""",
        after="""\
            retrying(attempt, refresh=lambda: self._forget(collection))
            self._look_after(collection, lock)
""",
        loses="after a power failure a settled batch is gone from LanceDB",
        tests=("integration/test_lancedb_upkeep.py::test_every_new_file_of_a_write_is_synced_before_it_returns",),
    ),
    Mutant(
        name="lease-shorter-than-a-request",
        file="sync/engine.py",
        before="        return max(self.settings.lease_s, 2 * store.request_timeout_s)\n",
        after="        return self.settings.lease_s\n",
        loses="a request can outlive the lease that covers it",
        tests=("crash/test_lease_outlives.py::test_a_lease_is_longer_than_two_requests",),
    ),
    Mutant(
        name="collection-made-anew-taken-for-ours",
        file="sync/engine.py",
        before="        if there is None or there.incarnation != self.collection.incarnation:\n",
        after="        if there is None:\n",
        loses="what a server made anew by itself is filled on",
        tests=("crash/test_outage.py::test_the_collection_is_dropped_in_the_middle_of_a_run[made anew]",),
    ),
    Mutant(
        name="dry-run-is-the-real-one",
        file="sync/read.py",
        before='        "dry_run": request.dry_run,\n',
        after="",
        loses="a dry run is resumed as a real one",
        tests=("crash/test_promises_continued.py::test_promise_11_a_dry_run_and_a_real_one_never_adopt_each_other",),
    ),
    Mutant(
        name="dry-run-registers-the-collection",
        file="sync/collection.py",
        before="        if run.dry_run:\n            return None\n",
        after="",
        loses="a dry run leaves a collection in the ledger that is not there",
        tests=("integration/test_nightly.py::test_a_dry_run_into_nothing_creates_nothing",),
    ),
    Mutant(
        name="dry-run-claims",
        file="sync/plan.py",
        before="""\
    with RunPlan(work.folder) as plan:
        if not work.run.dry_run:
""",
        after="""\
    with RunPlan(work.folder) as plan:
        if not work.run.dry_run or work.lease.collection_id:
""",
        loses="a dry run settles lines and holds repositories",
        tests=("crash/test_promises_continued.py::test_promise_11_a_dry_run_changes_nothing",),
    ),
    Mutant(
        name="unsent-lines-renamed-after-the-plan",
        file="sync/plan.py",
        before="""\
    unsent.finish()
    work.engine.faults("before-plan-renamed")
    with write_aside(path) as file:
        write_batches(file, _winning_slices(draft, wins, flags), cuts, metadata)
    work.engine.faults("planned")
""",
        after="""\
    with write_aside(path) as file:
        write_batches(file, _winning_slices(draft, wins, flags), cuts, metadata)
    work.engine.faults("before-plan-renamed")
    unsent.finish()
    work.engine.faults("planned")
""",
        loses="killed in between, lines that need no store are never settled",
        tests=("crash/test_killed_at_every_step.py::test_killed_and_gone_on_with[before-plan-renamed-1]",),
    ),
    Mutant(
        name="ids-joined-by-a-slash",
        file="models.py",
        before='f"{collection}\\0{repository}\\0{path}\\0{chunk_index}"',
        after='f"{collection}/{repository}/{path}/{chunk_index}"',
        loses="two documents have one object",
        tests=("crash/test_promises.py::test_promise_02_nothing_is_twice",),
    ),
)
