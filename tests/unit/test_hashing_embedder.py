"""The offline embedder: its words, its table, its vectors to the bit, and that it finds functions by what they say."""

import gzip
import hashlib
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from elysia_dagster.embedders import hashing, open_embedder
from elysia_dagster.embedders.hashing import HashingEmbedder
from elysia_dagster.embedders.idf import TABLE_PATH, load_table, pack_table
from elysia_dagster.embedders.words import MAX_WORD_CHARS, split_words, stem
from elysia_dagster.errors import UsageError

REPOSITORY = Path(__file__).parents[2]
TEXT = "def settleBatch(self, token):\n    # Größe HTTPServer2 read_lines\n    return self.settled_batches + 1\n"


def _benchmark(name: str) -> ModuleType:
    """A script of ``benchmarks/``, which is no package."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("settleBatch", "settle Batch"),
        ("settle_batch", "settle batch"),
        ("HTTPServer2_readLine", "HTTP Server 2 read Line"),
        ("__init__", "init"),
        ("MAX_RETRIES = 3", "MAX RETRIES 3"),
        ("utf8 sha256sum", "utf 8 sha 256 sum"),
        ("getURL(x)", "get URL x"),
        ("GrößeMessen größeÄndern", "Größe Messen größeÄndern"),
        ("ფაილის_წაკითხვა ფაილიRead", "ფაილის წაკითხვა ფაილი Read"),
        ("数据库 连接", "数据库 连接"),
        ("", ""),
        ("+-*/ \x00\ud800 \n\t()", ""),
    ],
)
def test_identifiers_split_into_words(text: str, words: str) -> None:
    assert split_words(text) == words.split()


def test_a_composed_and_a_decomposed_letter_are_one_word() -> None:
    assert split_words("gro\u0308ße") == split_words("größe")


def test_words_are_bounded() -> None:
    assert {len(word) for word in split_words("a" * 1000 + "Ä" * 1000)} <= set(range(MAX_WORD_CHARS + 1))


@pytest.mark.parametrize(
    "family",
    [
        "index indexes indexing indexed",
        "settle settles settled settling",
        "run runs running",
        "query queries",
        "file files",
        "map mapped mapping maps",
        "code codes coded coding",
        "note notes noted",
    ],
)
def test_inflected_words_have_one_stem(family: str) -> None:
    assert len({stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize("word", ["class", "process", "os", "bus", "x86s", "123456", "red"])
def test_what_a_stem_leaves_alone(word: str) -> None:
    assert stem(word) == word


def test_vectors_are_unit_float32_rows_and_zero_without_words(embedder: HashingEmbedder) -> None:
    vectors = embedder.embed([TEXT, "", "  ()\n", "batch"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, embedder.dimensions) == (4, 1024)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 0, 1], abs=1e-6)
    assert embedder.embed([]).shape == (0, 1024)


def test_a_word_has_four_places_and_its_4_grams(embedder: HashingEmbedder) -> None:
    """``<cat>`` has two 4-grams, so at most six places are not zero; more only for a longer word."""
    cat, category = embedder.embed(["cat", "concatenation"])
    assert 4 <= np.count_nonzero(cat) <= 6
    assert np.count_nonzero(category) > 6
    related, unrelated = embedder.embed(["resynchronise", "overlapping"]) @ embedder.embed(["synchronise"])[0]
    assert related > 0.15 > abs(unrelated)


def test_a_repeated_word_counts_by_its_logarithm(embedder: HashingEmbedder) -> None:
    once, eightfold = embedder.sums(["zebra"]), embedder.sums(["zebra " * 8])
    assert eightfold[0] / 64 * once.max() == pytest.approx(once[0] * (1 + np.log(8)) * once.max() / 64, rel=0.01)


def test_a_rare_word_outweighs_a_common_one(embedder: HashingEmbedder) -> None:
    _self, unknown, known = (np.abs(embedder.sums([word])).max() for word in ("self", "xylophonist", "socket"))
    assert _self < known < unknown


def test_the_algorithm_is_frozen() -> None:
    """These figures change only together with ``HASHING_VERSION``: stored vectors were made with them."""
    table = pack_table({"batch": 4, "self": 90}, documents=100, source="test")
    embedder = HashingEmbedder(table)
    assert embedder.model_id == "hashing-1024-v1-" + load_table(table).digest[:8]
    sums = embedder.sums([TEXT, "batch batches", "zzz" * 40])
    assert (
        hashlib.sha256(sums.astype("<i8").tobytes()).hexdigest()
        == "3ac4c0a224a360fc353f7699f952471a7223f2ed95d23dda5777c7eed3d2b38e"
    )


def test_the_shipped_table_is_the_one_that_collections_were_made_with(embedder: HashingEmbedder) -> None:
    """A new table is a new ``model_id``, which asks everybody to index again: never by accident."""
    assert embedder.model_id == "hashing-1024-v1-b69c4bfe"
    table = load_table(TABLE_PATH.read_bytes())
    assert 10_000 < len(table.idf) < 30_000
    assert table.idf["self"] < table.idf["socket"] < table.unknown


def test_the_model_id_follows_the_words_of_the_table_and_not_its_compression() -> None:
    table = pack_table({"batch": 4}, documents=100, source="test")
    other = pack_table({"batch": 5}, documents=100, source="test")
    repacked = gzip.compress(gzip.decompress(table), compresslevel=1, mtime=12345)
    assert repacked != table
    assert HashingEmbedder(repacked).model_id == HashingEmbedder(table).model_id != HashingEmbedder(other).model_id


@pytest.mark.parametrize(
    "broken",
    [b"", b"idf-v1", gzip.compress(b"idf-v9 documents=1 source=x\n"), gzip.compress(b"")],
    ids=["empty", "not packed", "another version", "packed emptiness"],
)
def test_a_table_that_is_none_is_a_usage_error(broken: bytes) -> None:
    with pytest.raises(UsageError, match="idf table"):
        load_table(broken)
    with pytest.raises(UsageError, match="idf table"):
        load_table(TABLE_PATH.read_bytes()[:1000])


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_another_process_gives_the_same_bytes(embedder: HashingEmbedder, hash_seed: str) -> None:
    program = (
        "import sys, hashlib; from elysia_dagster.embedders import open_embedder;"
        "e = open_embedder('hashing'); e.embed(['other words came before these']);"
        "print(e.model_id, hashlib.sha256(e.embed([sys.stdin.read()]).tobytes()).hexdigest())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input=TEXT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split()
    assert answer == [embedder.model_id, hashlib.sha256(embedder.embed([TEXT]).tobytes()).hexdigest()]


def test_company_order_and_history_do_not_change_a_bit(embedder: HashingEmbedder) -> None:
    texts = [f"{TEXT} word{number} variable_{number % 7} {chr(97 + number % 26) * 5}" for number in range(60)]
    together = embedder.embed(texts)
    alone = np.concatenate([HashingEmbedder().embed([text]) for text in texts[:3]])
    backwards = HashingEmbedder().embed(texts[::-1])[::-1]
    assert together[:3].tobytes() == alone.tobytes()
    assert together.tobytes() == backwards.tobytes()


def test_four_threads_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a vocabulary so small that the threads replace it under each other."""
    monkeypatch.setattr(hashing, "_MAX_REMEMBERED_SPELLINGS", 200)
    texts = [" ".join(f"w{chr(97 + number % 26)}{chr(97 + k % 26)}{'xyz'[k % 3] * (k % 5)}" for k in range(40))
             for number in range(120)]  # fmt: skip
    expected = HashingEmbedder().embed(texts).tobytes()
    shared = HashingEmbedder()

    def embedded(_: int) -> bytes:
        return np.concatenate([shared.embed(texts[start : start + 8]) for start in range(0, len(texts), 8)]).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(embedded, range(12))) == {expected}
    assert len(shared._vocabulary) < 2000


def test_a_long_text_is_the_sum_of_its_slices(embedder: HashingEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_GROUP_CHARS", 100)
    long = "alpha beta gamma delta epsilon " * 10
    texts = ["short one", long, "", "another short", long]
    pieces = [long[start : start + 100] for start in range(0, len(long), 100)]
    vectors = embedder.embed(texts)
    expected = embedder.sums(pieces).sum(axis=0)
    assert vectors[1] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert (vectors[1] == vectors[4]).all()
    monkeypatch.undo()
    assert (vectors[[0, 2, 3]] == embedder.embed(["short one", "", "another short"])).all()


def test_close_forgets_the_words_and_check_never_fails(embedder: HashingEmbedder) -> None:
    before = embedder.embed([TEXT])
    embedder.close()
    embedder.close()
    embedder.check()
    assert (embedder.embed([TEXT]) == before).all()


def test_tokens_are_words(embedder: HashingEmbedder) -> None:
    assert embedder.count_tokens(["settleBatch(token)", "", "x_1"]) == 5


def test_the_table_script_is_deterministic(tmp_path: Path) -> None:
    script = _benchmark("make_idf_table")
    library = tmp_path / "library"
    (library / "tests").mkdir(parents=True)
    (library / "a.py").write_text("def readFile():\n    'Reads files'\n    return 1\n\f\nasync def read(): pass\n")
    (library / "broken.py").write_text("def (")
    (library / "tests" / "b.py").write_text("def unseen(): pass\n")
    first = script.make_table(library, source="test")
    assert gzip.decompress(first).decode().splitlines() == [
        "idf-v1 documents=2 source=test",
        "1 1 async fil pass return",
        "2 def read",
    ]
    (library / "z.py").write_text("x = 'no function'\n")
    assert script.make_table(library, source="test") == first
    table = load_table(first)
    assert table.idf["def"] == pytest.approx(0.0)
    assert "unseen" not in table.idf


def test_functions_are_found_by_their_docstrings() -> None:
    """A broken embedder is far below: chance gives 0.01, and without idf it is 0.1 less."""
    probe = _benchmark("embedder_probe")
    pairs = probe.collect_pairs(["click", "jinja2", "rich", "requests"], limit=300)
    assert len(pairs) == 300
    report = probe.probe(lambda: open_embedder("hashing"), pairs, passes=1)
    without_idf = probe.probe(lambda: HashingEmbedder(pack_table({}, documents=100, source="none")), pairs, passes=1)
    assert report.mrr_docstring > 0.7
    assert report.mrr_summary > 0.6
    assert report.mrr_summary > without_idf.mrr_summary + 0.05
    assert min(report.cold_functions_per_s, report.warm_functions_per_s) > 0


def test_the_probe_tells_a_perfect_embedder_from_a_blind_one() -> None:
    probe = _benchmark("embedder_probe")
    perfect = np.eye(20, dtype=np.float32)
    assert probe.mean_reciprocal_rank(perfect, perfect) == 1.0
    assert probe.mean_reciprocal_rank(perfect * 0, perfect) == 0.0
    assert probe.mean_reciprocal_rank(perfect, perfect[::-1]) == 0.0


@pytest.mark.parametrize("spec", ["", "hash", "hashing:x", "openai", "openai:", "fastembed:", "weaviate"])
def test_an_unknown_spec_is_a_usage_error(spec: str) -> None:
    with pytest.raises(UsageError, match="no embedder is called"):
        open_embedder(spec)


def test_opening_the_package_imports_no_library() -> None:
    """``elysiactl index status`` imports the package and must not pay for scikit-learn."""
    program = (
        "import sys, elysia_dagster.embedders; print({'sklearn', 'scipy', 'httpx', 'fastembed'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == "set()"
