"""Chunks: nothing lost, nothing doubled, lines counted rightly, cut where the language allows, never a hang."""

import hashlib
import inspect
import textwrap
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elysia_dagster.models import Chunk
from elysia_dagster.sync import chunk, structure
from elysia_dagster.sync.chunk import CHUNKER_ID, MAX_CHARACTERS, chunk_text
from elysia_dagster.sync.languages import extension_of, language_of

EXTENSIONS = ("py", "js", "ts", "tsx", "go", "java", "rs", "c", "cpp", "cs", "php", "rb", "sh", "md", "yaml", "txt", "")

SNIPPETS = {
    "py": """\
# NUMBER leads
@decorated
def function_NUMBER(a, b):
    # grün
    if a:
        return a + NUMBER
    return b


""",
    "js": """\
/** NUMBER leads */
function functionNUMBER(a, b) {
  if (a) {
    return a + NUMBER;
  }
  return b; // grün
}

""",
    "ts": """\
// NUMBER leads
export class ClassNUMBER<T> {
  method(a: T): T {
    return a; // grün
  }
}

""",
    "tsx": """\
export const PartNUMBER = () => {
  return <div className='grün'>NUMBER</div>;
};

""",
    "go": """\
// NUMBER leads
func FunctionNUMBER(a int) int {
	if a > 0 {
		return NUMBER // grün
	}
	return a
}

""",
    "java": """\
/** NUMBER leads */
class ClassNUMBER {
  int method(int a) {
    return a + NUMBER; // grün
  }
}

""",
    "rs": """\
/// NUMBER leads
#[inline]
fn function_NUMBER(a: u32) -> u32 {
    // grün
    a + NUMBER
}

""",
    "c": """\
/* NUMBER leads */
int function_NUMBER(int a) {
  if (a) {
    return NUMBER; /* grün */
  }
  return a;
}

""",
    "cpp": """\
// NUMBER leads
template <class T>
T function_NUMBER(T a) {
  return a + NUMBER; // grün
}

""",
    "cs": """\
/// NUMBER leads
public class ClassNUMBER
{
    public int Method(int a)
    {
        return a; // grün
    }
}

""",
    "php": """\
// NUMBER leads
function function_NUMBER($a) {
  if ($a) {
    return NUMBER; // grün
  }
  return $a;
}

""",
    "rb": """\
# NUMBER leads
def function_NUMBER(a)
  # grün
  return NUMBER if a
  a
end

""",
    "sh": """\
# NUMBER leads
function_NUMBER() {
  # grün
  if true; then
    echo NUMBER
  fi
}

""",
}
"""A declaration with a comment that leads it, with something that is not ASCII, by extension."""

BOUNDARIES = "d497ccea63c0be42"
"""What `boundaries` gives for the samples; see `test_another_boundary_needs_another_name`."""


def program(extension: str, count: int) -> str:
    head = {"php": "<?php\n", "go": "package main\n\n"}.get(extension, "")
    return head + "".join(SNIPPETS[extension].replace("NUMBER", str(i)) for i in range(count))


def assert_whole(text: str, chunks: list[Chunk]) -> None:
    """Chunks are pieces of the text in order; what lies between is white space; lines are where they are said to be."""
    position = 0
    for number, each in enumerate(chunks):
        assert each.index == number
        assert 0 < len(each.text) <= MAX_CHARACTERS
        assert not each.text.isspace()
        start = position
        while not text.startswith(each.text, start) or text.count("\n", 0, start) + 1 != each.start_line:
            assert text[start].isspace(), "something was lost"
            start += 1
        position = start + len(each.text)
        assert each.end_line == 1 + text.count("\n", 0, position - 1)
        assert each.start_line <= each.end_line
    assert not text[position:].strip(), "the end was lost"


TOKENS = st.sampled_from(
    [
        "\n",
        "\n\n",
        "\r\n",
        "    ",
        "\t",
        "x",
        "def f():",
        "class A {",
        "}",
        "(",
        ")",
        '"',
        "'",
        '"""',
        "// c",
        "# c",
        "/*",
        "*/",
        "<?php ",
        "?>",
        "<<EOF",
        "EOF",
        "ü",
        "日本",
        "🎉",
        "\u2028",
        "\x0b",
        "\ud800",
        "word " * 30,
        "y" * 700,
        "\n" * 900,
        "if x:\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TOKENS, max_size=60).map("".join), st.sampled_from(EXTENSIONS))
def test_nothing_is_lost_or_doubled(text: str, extension: str) -> None:
    assert_whole(text, chunk_text(text, f"a.{extension}"))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.integers(2_300, 9_000), st.sampled_from(EXTENSIONS))
def test_any_characters(text: str, length: int, extension: str) -> None:
    long = (text * length)[:length]
    assert_whole(long, chunk_text(long, f"a.{extension}"))


@pytest.mark.parametrize("text", ["", " ", "\n", "\r\n\t \n" * 5_000, "\u2003"])
def test_white_space_has_no_chunks(text: str) -> None:
    assert chunk_text(text, "a.py") == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a", (1, 1)),
        ("a\n", (1, 1)),
        ("a\nb", (1, 2)),
        ("a\r\nb\r\n", (1, 2)),
        ("\n\na\n", (1, 3)),
        ("a\rb", (1, 1)),
        ("a\n\n", (1, 2)),
    ],
)
def test_a_small_text_is_one_chunk(text: str, lines: tuple[int, int]) -> None:
    assert chunk_text(text, "a.py") == [Chunk(index=0, text=text, start_line=lines[0], end_line=lines[1])]


@pytest.mark.parametrize("extension", SNIPPETS)
def test_programs_are_cut_between_declarations(extension: str) -> None:
    """Every chunk begins where a declaration does, with the comment that leads it, in every language with a grammar."""
    text = program(extension, 200)
    chunks = chunk_text(text, f"a.{extension}")
    assert "".join(each.text for each in chunks) == text
    assert_whole(text, chunks)
    starts = SNIPPETS[extension].split("NUMBER")[0]
    assert all(each.text.startswith(starts) for each in chunks[1:])
    sizes = [len(each.text) for each in chunks]
    assert sum(sizes) / len(sizes) > 1_400


@pytest.mark.parametrize("extension", SNIPPETS)
def test_the_tree_is_what_decides(extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = structure.structural_cuts

    def noted(text: str, grammar: str, smallest: int) -> dict[int, int] | None:
        found = real(text, grammar, smallest)
        asked.append(grammar)
        assert found
        return found

    monkeypatch.setattr(chunk, "structural_cuts", noted)
    chunk_text(program(extension, 60), f"a.{extension}")
    assert asked


def test_a_long_class_is_cut_between_its_methods() -> None:
    methods = "".join(f"    def method_{i}(self):\n        a = {i}\n\n        return a * 2\n\n" for i in range(100))
    chunks = chunk_text("import os\n\n\nclass Long:\n" + methods, "a.py")
    assert len(chunks) > 2
    assert all(each.text.startswith("    def method_") for each in chunks[1:])


def test_a_declaration_that_fits_is_not_cut() -> None:
    source = (
        "import os\n" * 30
        + "\n\ndef long():\n"
        + "    value = compute(1)\n" * 80
        + "\n\ndef after():\n"
        + "    pass\n" * 100
    )
    holding = [each.text for each in chunk_text(source, "a.py") if "def long" in each.text]
    assert holding[0].startswith("def long")
    assert holding[0].count("value = compute(1)") == 80


def test_code_without_a_grammar_is_cut_at_the_least_indented_line() -> None:
    text = "".join(f"fun f{i}(a: Int): Int {{\n    val b = a\n\n    return b + {i}\n}}\n\n" for i in range(100))
    chunks = chunk_text(text, "a.kt")
    assert all(each.text.startswith("fun f") for each in chunks)


def test_markdown_is_cut_at_headings_and_text_at_paragraphs() -> None:
    paragraph = "A sentence of some words about nothing. " * 10 + "\n"
    markdown = "".join(f"## Part {i}\n\n{paragraph}\n{paragraph}\n" for i in range(10))
    assert all(each.text.startswith("## Part") for each in chunk_text(markdown, "a.md"))
    prose = "".join(f"First {i} {paragraph}second {paragraph}\n" for i in range(20))
    assert all(each.text.startswith("First") for each in chunk_text(prose, "a.txt"))


def test_one_huge_line() -> None:
    words, solid = "word " * 5_000, "x" * 25_000
    for text in (words, solid, "🎉" * 9_000):
        chunks = chunk_text(text, "a.txt")
        assert "".join(each.text for each in chunks) == text
        assert {(each.start_line, each.end_line) for each in chunks} == {(1, 1)}
    assert all(each.text.endswith(" ") for each in chunk_text(words, "a.txt"))


def test_a_line_end_of_two_characters_is_never_cut() -> None:
    text = "x" * 1_999 + "\r\n" + "y" * 1_998 + "\r\n" + "z" * 3_000
    chunks = chunk_text(text, "a.txt")
    assert "".join(each.text for each in chunks) == text
    assert not [each for each in chunks if each.text.startswith("\n")]


def test_minified_code_is_cut_between_statements() -> None:
    text = "".join(f"function f{i}(a){{return a+{i}}}" for i in range(1_000))
    assert all(each.text.startswith("function f") for each in chunk_text(text, "a.js"))


@pytest.mark.parametrize("extension", SNIPPETS)
def test_hostile_text_neither_hangs_nor_overflows_the_stack(extension: str) -> None:
    """In a thread, as it runs in earnest; each of these kept an unbounded parser busy for seconds, or crashed it."""
    patterns = (
        "(",
        "<",
        "{[",
        "A<B<",
        "a?b:",
        "a*b(c)&d ",
        "\"'`$(<<A\n",
        "if (x) {\n",
        "#[",
        "class A { void f() { ",
        '"#{`${',
    )
    slow: list[str] = []

    def run() -> None:
        for pattern in patterns:
            text = ("<?php " if extension == "php" else "") + pattern * (20_000 // len(pattern))
            started = time.process_time()
            chunks = chunk_text(text, f"a.{extension}")
            if time.process_time() - started > 5 or "".join(each.text for each in chunks) != text:
                slow.append(pattern)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert slow == []


def test_deep_indentation_needs_no_deep_stack() -> None:
    text = "".join(" " * depth + "if x:\n" for depth in range(700))
    assert_whole(text, chunk_text(text, "a.py"))


def test_long_files_go_by_lines_and_stay_whole() -> None:
    text = program("py", 6_000)
    assert len(text) > 512_000
    started = time.process_time()
    chunks = chunk_text(text, "a.py")
    assert time.process_time() - started < 5
    assert "".join(each.text for each in chunks) == text


def test_threads_agree() -> None:
    text = program("py", 150) + program("js", 50)
    expected = [chunk_text(text, f"a.{extension}") for extension in ("py", "js")]
    wrong: list[str] = []

    def run() -> None:
        for _ in range(4):
            if [chunk_text(text, f"a.{extension}") for extension in ("py", "js")] != expected:
                wrong.append(threading.current_thread().name)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def boundaries() -> str:
    samples = [(f"a.{extension}", program(extension, 100)) for extension in SNIPPETS]
    samples.append(("a.py", textwrap.dedent(SAMPLE_CLASS) * 20))
    samples.append(("a.md", "# One\n\ntext\n\n## Two\n\n" * 500))
    digest = hashlib.sha256()
    for path, text in samples:
        for each in chunk_text(text, path):
            digest.update(f"{path} {each.start_line} {each.end_line} {len(each.text)}\n".encode())
    return digest.hexdigest()[:16]


SAMPLE_CLASS = '''
    class Sample:
        """A class with nested blocks."""

        value = {"a": 1, "b": [1, 2, 3]}

        def method(self, a):
            try:
                for each in a:
                    if each:
                        yield each
            finally:
                self.close()
'''


def test_another_boundary_needs_another_name() -> None:
    """If this fails after a change here or in a grammar: another number for CHUNKER_ID, then BOUNDARIES anew."""
    assert (CHUNKER_ID, boundaries()) == ("tree-sitter-lines-1", BOUNDARIES)


@pytest.mark.parametrize(
    ("path", "language", "extension"),
    [
        ("src/a.py", "python", "py"),
        ("A.PY", "python", "py"),
        ("a.tsx", "typescript", "tsx"),
        ("a.d.ts", "typescript", "ts"),
        ("x/Dockerfile", "dockerfile", ""),
        ("Makefile", "makefile", ""),
        (".gitignore", "", ""),
        ("x.y/.bashrc", "bash", ""),
        ("dir.py/file", "", ""),
        ("archive.tar.gz", "", "gz"),
        ("trailing.", "", ""),
        ("a.unknown", "", "unknown"),
        ("a.h", "c", "h"),
        ("a.cs", "csharp", "cs"),
    ],
)
def test_names_say_the_language(path: str, language: str, extension: str) -> None:
    assert (language_of(path), extension_of(path)) == (language, extension)


def test_the_project_itself_stays_whole() -> None:
    for module in (chunk, structure, inspect):
        text = inspect.getsource(module)
        chunks = chunk_text(text, "a.py")
        assert "".join(each.text for each in chunks) == text
