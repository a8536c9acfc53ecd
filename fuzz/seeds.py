"""Where the fuzzers begin: inputs of every form that there is code for, and the words that they should know."""

import codecs
import json

from fuzz.tree import tokens

_RECORDS = (
    {"repo": "web", "op": "modify", "path": "a.py"},
    {"repo": "web", "op": "add", "path": "a.py", "content": "a\n", "content_hash": "sha256:ab", "is_truncated": False},
    {"repo": "web", "op": "add", "path": "b.bin", "content_base64": "AAEC", "size": 3},
    {"repo": "web", "op": "modify", "path": '"\\303\\274.py" -> new.py', "content_ref": "a/b"},
    {"repo": "web", "op": "delete", "path": "old/", "skip_index": True, "content_error": "x"},
    {"repo": "web", "new_changeset": {"commit": "c", "parent": None, "branch": "main", "x": [{}]}},
)
_LINES = (
    b"src/a.py",
    b'"\\303\\274 \\"x\\" \\t.py"\r',
    b"a.py -> b.py",
    b'{"path": "a\\ud800.py", "x": 1e999, "y": NaN}',
    b'{"path": "\\u0061", "path": "b", "op": null}',
    b"\xef\xbb\xbf{}",
    b"a|b",
)
_PATHS = (
    "web\na.py\nsrc/b.py",
    "web\nout/secret\n../../outside/secret",
    "group/name\nd.py\nroot.py",
    "linked\nsecret\nlinked/secret",
    "\nweb/src\nweb/secret",
    "web/src\ndeep/../b.py\n.git/config",
)
_TEXTS = (
    b"plain ASCII\n",
    "ünïcödé 日本語\r\n".encode() * 8,
    *(
        mark + "mit Marke\n".encode(name)
        for mark, name in (
            (codecs.BOM_UTF8, "utf-8"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
            (codecs.BOM_UTF32_LE, "utf-32-le"),
            (codecs.BOM_UTF32_BE, "utf-32-be"),
        )
    ),
    "Größe für Café\n".encode("cp1252"),
    "Съешь же ещё этих мягких французских булок\n".encode("cp1251"),
    "Съешь же ещё этих мягких французских булок\n".encode("koi8-r"),
    "吾輩は猫である。名前はまだ無い。\n".encode("shift_jis"),
    "吾輩は猫である。名前はまだ無い。\n".encode("euc_jp"),
    "吾輩は猫である。\n".encode("iso2022_jp"),
    "我能吞下玻璃而不伤身体。\n".encode("gb18030"),
    b"cut \xe6\x97",
    b"%PDF-1.7\n",
    b"a" * 9000 + b"\0",
)
_PROGRAMS = (
    (0, "class A:\n    def f(self):\n        return 1\n\n\n"),
    (1, "function f(a) {\n  return `${a}`;\n}\n\n"),
    (4, "func F(a int) int {\n\treturn a\n}\n\n"),
    (10, "<?php\nfunction f() { return 1; }\n?>\n<p>x</p>\n"),
    (12, "f() {\n  cat <<EOF\n$x\nEOF\n}\n"),
    (13, "# One\n\ntext\n\n## Two\n\n"),
    (15, "word " * 40 + "\r\n" + "y" * 300 + "\u2028\n\n"),
)


def seeds(target: str) -> list[bytes]:
    """Inputs of one target."""
    match target:
        case "lines":
            return [*(json.dumps(each).encode() for each in _RECORDS), *_LINES]
        case "paths":
            return [each.encode() for each in _PATHS]
        case "text":
            return list(_TEXTS)
        case _:
            return [bytes((extension, times)) + text.encode() for extension, text in _PROGRAMS for times in (0, 31)]


def words(target: str) -> list[bytes]:
    """What random bytes would take long to come to."""
    match target:
        case "lines":
            names = "repo op path content content_base64 content_hash content_ref new_changeset commit add delete"
            marks = [
                "true",
                "null",
                " -> ",
                "\\ud800",
                "\\u0000",
                "1e999",
                "NaN",
                "..",
                "\\303\\274",
                '\\"',
                "[[[[",
                "}}",
            ]
            return [each.encode() for each in (*(f'"{name}": ' for name in names.split()), *marks)]
        case "paths":
            return [each.encode() for each in tokens()]
        case "text":
            return [
                codecs.BOM_UTF8,
                codecs.BOM_UTF16_LE,
                codecs.BOM_UTF32_LE,
                b"\x1b$B",
                b"\x1b(B",
                b"\xe6\x97\xa5",
                b"\0",
            ]
        case _:
            return [
                b"\n\n",
                b"\r\n",
                b"    ",
                b"{\n",
                b"}\n",
                b"def f():\n",
                b'"""',
                b"/*",
                b"*/",
                b"<<EOF\n",
                b"\xed\xa0\x80",
            ]
