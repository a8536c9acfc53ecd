"""What each table and column of the checkpoint means, and what people ask of them."""

TABLES: dict[str, str] = {
    "sync_runs": "a run: the work of applying one changeset to one collection. Repairs and rebuilds are runs, too",
    "completed_lines": "a line of a changeset that is done",
    "failed_lines": "a line that could not be applied",
    "collections": "a collection as it began",
    "documents": "the ledger: what a collection holds, or may hold, of a document, and what it once held",
    "repository_changesets": "where a repository stands in a collection",
    "removed_folders": "a folder that a line removed as a whole: an older run that comes late writes nothing below it",
    "run_repositories": "a repository that a run's plan names",
    "repository_claims": "a repository that a run holds now: no other writes it",
    "dagster_steps": "a step of a Dagster run, and the sync run that it worked on",
    "sequences": "a number that only grows",
    "inbox_files": "a file of an inbox, by its name, as the sensor knows it",
    "inbox_repositories": "a repository that files of an inbox were applied to",
}
"""What a row is."""

COLUMNS: dict[str, dict[str, str]] = {
    "sync_runs": {
        "run_id": "its name: `sync-`, the moment in UTC, and a random end",
        "started_at": "when it was opened",
        "completed_at": "when it ended; empty while it is unfinished",
        "input_source": "the changeset's path, or `<stdin>`",
        "total_lines": "lines of the changeset",
        "processed_lines": "lines that are settled: the next two together",
        "success_count": "rows of `completed_lines`, at every commit",
        "error_count": "rows of `failed_lines`, at every commit",
        "collection_name": "the collection that it writes",
        "dry_run": "whether it only looks",
        "status": "`running` (or waits to be resumed), `completed`, `failed` (some lines), `canceled` (given up)",
        "changeset_info": "JSON: by repository its `new_changeset` record",
        "sequence": "the order of runs; what a run with a higher one says of a document counts",
        "identity": "what makes two starts the same run; empty where nothing takes it up again",
        "digest": "SHA-256 of the changeset's bytes, decompressed",
        "store": "the store's URL",
        "options": "JSON: what it was started with",
        "attempt": "1, and one more each time failed lines are tried again",
        "self_contained": "whether every line carries its content: the same bytes say the same again",
        "last_error": "why the last process that worked on it stopped; empty once it ended",
        "lease_owner": "JSON: the process that works on it (boot, host, pid and when that began)",
        "lease_label": "what that process is, in words",
        "lease_since": "since when",
        "lease_heartbeat": "when it last said that it lives",
        "lease_expires_at": "from when another host may take the run over",
        "lease_parked": "whether it is kept for the next step of a Dagster run",
        "lease_token": "grows with every take: a process with an older one is refused",
    },
    "completed_lines": {
        "run_id": "the run",
        "line_number": "from 1",
        "file_path": "the path that it names",
        "operation": "`add`, `modify`, `delete`",
        "repository": "the repository that it names",
        "completed_at": "when it was settled",
        "processing_time_ms": "milliseconds of its batch, by its share",
        "outcome": "`indexed`, `deleted`, `unchanged`, `skipped`, `superseded`, `changeset`, `blank`",
        "detail": "more about it, e.g. which run answered it",
    },
    "failed_lines": {
        "run_id": "the run",
        "line_number": "from 1",
        "file_path": "the path that it names, if it can be read",
        "operation": "`add`, `modify`, `delete`",
        "repository": "the repository that it names, if it can be read",
        "error_message": "why it failed",
        "payload": "the line as it stood, up to 16 KB, in a form that every database takes",
        "retry_count": "times that it was tried again",
        "last_attempt": "when it last failed",
        "error_kind": "`retryable`, or `permanent`: no second try can mend it as it stands",
        "next_retry_at": "when it is due for another try; empty where it is not tried by itself",
        "pending": "whether it is being tried again now",
        "single_document": "whether it asks one thing of one document, so that a newer run's change of it answers it",
    },
    "collections": {
        "collection_id": "its number here",
        "store": "the store's URL",
        "name": "its name",
        "incarnation": "the mark in the store that tells it from another one of the same name",
        "model": "the embedder's model that it began with",
        "dimensions": "the length of its vectors",
        "chunker": "how its documents are cut",
        "adopted_sequence": "the run that took it over; 0 where this checkpoint made it",
        "created_at": "when it was registered",
        "rebuilt_from": "the collection that it is being rebuilt from; until the switch nothing else writes it",
        "replaced_by": "the collection that has taken its place; it takes no changeset any more",
    },
    "documents": {
        "collection_id": "the collection",
        "repository": "its repository",
        "path": "its path in the repository",
        "state": "`present`, `absent` (removed), `writing` (a run is at it, or died at it), `suspect` (in doubt)",
        "version_sequence": "the run that last changed it",
        "version_line": "and its line",
        "content_hash": "SHA-256 of its bytes",
        "write_hash": "a hash of what was written: bytes, texts, vectors, model, chunker",
        "chunker": "how it was cut",
        "chunks": "objects that it should have in the store",
        "max_chunks": "the most objects that it may have there",
        "outcome": "the outcome of the line that last changed it",
    },
    "repository_changesets": {
        "collection_id": "the collection",
        "repository": "the repository",
        "commit_id": "the commit that the collection shows",
        "parent": "the commit before, as the record says",
        "branch": "the branch, as the record says",
        "record": "JSON: the whole `new_changeset` record",
        "run_id": "the run that moved it there",
        "sequence": "and its place in the order of runs",
        "incomplete": "whether a run up to this one, which is not cleaned up yet, has a failed line of this repository",
        "gap": "what is amiss where `parent` is not the commit that stood before",
        "moved_at": "when it was moved",
    },
    "removed_folders": {
        "collection_id": "the collection",
        "repository": "the repository",
        "path": "the folder; empty for the whole repository",
        "version_sequence": "the run that removed it",
        "version_line": "and its line",
    },
    "run_repositories": {
        "run_id": "the run",
        "repository": "the repository",
        "collection_id": "the collection",
        "sequence": "the run's place in the order of runs",
    },
    "repository_claims": {
        "collection_id": "the collection",
        "repository": "the repository",
        "run_id": "the run that holds it",
        "claimed_at": "since when",
    },
    "dagster_steps": {
        "dagster_run_id": "Dagster's run",
        "step_key": "its step",
        "run_id": "the sync run",
        "recorded_at": "when it was noted",
    },
    "inbox_files": {
        "inbox": "the folder",
        "name": "the file's name",
        "size_bytes": "its size",
        "modified_ns": "its time, in nanoseconds",
        "first_seen_at": "when the sensor first saw it",
        "seen_at": "since when size and time are what they are",
        "digest": "SHA-256 of its bytes, decompressed; empty before it was read",
        "line_count": "its lines",
        "repositories": "JSON: the repositories that it names",
        "state": "`arriving`, `waiting`, `requested`, `held`, `applied`, `refused`",
        "attempt": "Dagster runs that were asked for under this name, ever; a part of the run key",
        "tries": "those of the file that lies there now: the backoff grows with them",
        "next_attempt_at": "from when it is asked for again",
        "run_id": "the sync run that it became",
        "reason": "why it waits, is held or was refused",
        "applied_digest": "the digest of what was last applied under this name",
        "settled_at": "when it was applied or refused",
        "place": "where it was moved to; empty until then",
    },
    "inbox_repositories": {
        "inbox": "the folder",
        "repository": "the repository",
        "last_name": "the last file, by name, that was applied to it: a name that sorts before it comes too late",
    },
    "sequences": {"name": "what is counted", "value": "the last number that was given"},
}
"""By table and column."""

QUERIES: tuple[tuple[str, str], ...] = (
    ("How many lines of each repository were applied, and how", """\
SELECT repository, outcome, COUNT(*) AS lines
FROM completed_lines GROUP BY repository, outcome ORDER BY lines DESC;"""),
    ("Unfinished runs, how far they are, and why the last process stopped", """\
SELECT run_id, processed_lines, total_lines, last_error
FROM sync_runs WHERE status = 'running' ORDER BY sequence;"""),
    ("Failed lines by reason", """\
SELECT error_message, error_kind, COUNT(*) AS lines, MIN(next_retry_at) AS next
FROM failed_lines GROUP BY error_message, error_kind ORDER BY lines DESC LIMIT 20;"""),
    ("What a document's last changes were", """\
SELECT run_id, line_number, operation, outcome, completed_at
FROM completed_lines WHERE file_path LIKE '%cart.py' ORDER BY completed_at DESC LIMIT 10;"""),
    ("Documents of which nobody can say what the store holds", """\
SELECT name, repository, path, state
FROM documents JOIN collections USING (collection_id) WHERE state IN ('writing', 'suspect');"""),
    ("Where every repository stands", """\
SELECT name, repository, commit_id, moved_at, incomplete, gap
FROM repository_changesets JOIN collections USING (collection_id) ORDER BY name, repository;"""),
    ("Who holds what, now", """\
SELECT repository, run_id, lease_label, lease_since, lease_heartbeat
FROM repository_claims JOIN sync_runs USING (run_id);"""),
    ("Lines a second, of the last runs", """\
SELECT run_id, ROUND(processed_lines / NULLIF((julianday(completed_at) - julianday(started_at)) * 86400, 0), 1) AS per_s
FROM sync_runs WHERE status IN ('completed', 'failed') ORDER BY sequence DESC LIMIT 10;"""),
    ("Files of the inbox that are not settled, and what each waits for", """\
SELECT name, state, tries, next_attempt_at, reason
FROM inbox_files WHERE settled_at IS NULL ORDER BY name;"""),
    ("The changeset records of each run", """\
SELECT run_id, changeset_info FROM sync_runs WHERE changeset_info IS NOT NULL;"""),
)  # fmt: skip
"""For SQLite's shell."""
