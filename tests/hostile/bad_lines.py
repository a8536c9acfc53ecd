"""Lines that must fail, each for itself, with the reason; nothing that they name may be read or written."""

import json
from dataclasses import replace

from hostile import folder as made
from hostile.model import HostileLine, Place, bad, encoded, record


def cut_off(place: Place) -> HostileLine:
    """JSON that ends too early, or goes on too long."""
    whole = json.dumps(record(f"cut/{place.name}.py", content="x\n", more={"a": [1, None, True]}))
    if place.chance.random() < 0.2:
        return bad(whole + place.chance.choice(("}", "{}", " x", ",", whole, "\x00", "]")))
    return bad(whole[: place.chance.randrange(1, len(whole))])


def wrong_type(place: Place) -> HostileLine:
    """A field of a wrong type: each field, each type."""
    names = (
        "repo",
        "op",
        "path",
        "content",
        "content_base64",
        "content_hash",
        "content_ref",
        "skip_index",
        "is_truncated",
    )
    name = place.chance.choice((*names, "new_changeset"))
    values: list[object] = [7, -1, 1.5, [], ["add"], {"a": 1}, [None], 10**25]
    if name not in ("skip_index", "is_truncated"):
        values += [True, False]
    else:
        values += ["yes", "", "true"]
    if name == "new_changeset":
        values.remove({"a": 1})
    return bad({**record(f"typed/{place.name}.py", content="x\n"), name: place.chance.choice(values)})


def wrong_op(place: Place) -> HostileLine:
    """Names of operations that there are not."""
    names = (
        "ADD",
        "Modify",
        "",
        " add",
        "add ",
        "rename",
        "copy",
        "add\n",
        "delete\0",
        "modi\u0301fy",
        "\ud800",
        "x" * 9000,
    )
    return bad(record(f"op/{place.name}.py", op=place.chance.choice(names), content="x\n"))


def wrong_number(place: Place) -> HostileLine:
    """Numbers that JSON does not have, or no machine."""
    forms = (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "9" * 400,
        "007",
        "+1",
        ".5",
        "1.",
        "0x10",
        "1_000",
        "--1",
    )
    name = place.chance.choice(("size", "mtime", "content", "op"))
    return bad(f'{{"repo": "repo", "path": "n/{place.name}", "{name}": {place.chance.choice(forms)}}}')


def wrong_bytes(place: Place) -> HostileLine:
    """Bytes that are no UTF-8: overlong, surrogates, cut, or none at all; and NUL."""
    forms = (
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80",
        b"\xff",
        b"\x80",
        b"\xe6\x97",
        b"\xf8\x88\x80\x80\x80",
        b"\0",
    )
    wrong = place.chance.choice(forms)
    name = place.name.encode()
    if place.chance.random() < 0.5:
        return bad(b"bytes/" + wrong + name)
    field_name = place.chance.choice((b"path", b"repo", b"content"))
    return bad(b'{"path": "bytes/' + name + b'", "repo": "repo", "' + field_name + b'": "x' + wrong + b'y"}')


def wrong_letters(place: Place) -> HostileLine:
    """NUL and lone surrogates, escaped."""
    letter = place.chance.choice(("\\u0000", "\\ud800", "\\udfff", "\\ude00\\ud83d"))
    form = place.chance.choice(
        (
            '{{"repo": "repo", "path": "{0}{1}", "content": "x"}}',
            '{{"repo": "re{1}po", "path": "{0}", "content": "x"}}',
            '{{"repo": "repo", "op": "delete", "path": "{0}{1}"}}',
            '{{"repo": "repo", "op": "delete", "path": "{0}{1}/"}}',
            '{{"repo": "repo", "path": "{0}{1} -> {0}"}}',
            '{{"repo": "repo", "path": "{0}", "content_ref": "{1}"}}',
            '{{"repo": "repo", "new_changeset": {{"commit": "{1}"}}}}',
            '{{"repo": "repo", "path": "{0}", "op": "{1}"}}',
        )
    )
    return bad(form.format(f"letters/{place.name}", letter))


def up_and_out(place: Place) -> HostileLine:
    """Ways to a place outside, in every field that names one."""
    ways = (
        "..",
        "../",
        "../secret.txt",
        "../../outside/secret.txt",
        "a/../../../outside/secret.txt",
        "./../../secret.txt",
    )
    ways += (
        "/etc/passwd",
        "//etc/passwd",
        "/etc/../etc/passwd",
        f"{place.root}-2/secret.txt",
        f"{place.root}/../secret.txt",
    )
    ways += (f"{place.root}/repo/../../secret.txt", "deep/../../../outside/secret.txt", "/", "/proc/self/environ")
    way = place.chance.choice(ways)
    path = f"out/{place.name}"
    return bad(
        place.chance.choice(
            (
                record(way),
                record(way, content="x\n"),
                record(way, op="add"),
                record(way, op="delete"),
                record(f"{way}/", op="delete"),
                record(f"{path} -> {way}", content="x\n"),
                record(f"{way} -> {path}", content="x\n"),
                record(path, content_ref=way),
                {**record(path, content="x\n"), "repo": way},
                {**record(path), "repo": way},
                way,
            )
        )
    )


def literal_ways(place: Place) -> HostileLine:
    """What others take for a way out is a name here, of a file that is not there."""
    names = (
        "%2e%2e/%2e%2e/{}",
        "..%2f{}",
        "..\\..\\{}",
        "C:\\{}",
        "file:///{}",
        "~/{}",
        "$HOME/{}",
        "....//{}",
        "\uff0e\uff0e/{}",
    )
    names += ("\\\\host\\{}", "{}::$DATA", "linked/{}", "\u2025/{}", "http://host/{}", "..\u2215{}", "|cat {}", "`{}`")
    name = place.chance.choice(names).format(place.name)
    return bad(place.chance.choice((record(name), record("lit/" + place.name, content_ref=name), name)))


def gits_own(place: Place) -> HostileLine:
    """Nothing of a ``.git`` is read."""
    name = f"git/{place.name}"
    match place.chance.randrange(4):
        case 0:
            path = place.chance.choice((".git/config", "deep/.git/config"))
            return replace(bad(record(f"./{path}")), verdict=made.SKIPPED, document=f"repo/{path}")
        case 1:
            return bad({**record("config"), "repo": "repo/.git", "line": place.number})
        case _:
            return bad(
                record(name, content_ref=place.chance.choice((".git/config", "repo/.git/config", "./.git//config")))
            )


def wrong_length(place: Place) -> HostileLine:
    """Names that are too long for a file system, a record, or an index."""
    long = "".join(place.chance.choices("abcdefgh日本", k=5_000))
    return bad(
        place.chance.choice(
            (
                record(long, content="x\n"),
                record(f"long/{long[:300]}"),
                record("a/" * 2_500 + place.name, content="x\n"),
                {**record(place.name, content="x\n"), "repo": long[:300]},
                record(long, op="delete"),
                record(place.name, content_ref=long),
                f"long/{long}",
                record(place.name, op=long),
            )
        )
    )


def wrong_reference(place: Place) -> HostileLine:
    """``content_ref`` of every wrong kind."""
    kinds = (
        "",
        ".",
        "./",
        "missing",
        "deep",
        "deep/",
        "fifo",
        "socket",
        "device",
        "link-out",
        "link-self",
        "sparse.bin",
    )
    kinds += (
        "link-out-folder/secret.txt",
        "linked/secret.txt",
        "plain.py/x",
        "fifo/x",
        "http://host/x",
        "a\nb",
        "repo",
    )
    return bad(record(f"ref/{place.name}", content_ref=place.chance.choice(kinds)))


def wrong_base64(place: Place) -> HostileLine:
    """What is no base64."""
    forms = (
        "%%%",
        "a",
        "ab=c",
        "====",
        "YQ",
        "YQ==YQ==x",
        "YQ\n==",
        "ä===",
        "\ud800",
        "YWJj!",
        "=",
        "data:text/plain;base64,YQ==",
    )
    return bad(record(f"base64/{place.name}", content_base64=place.chance.choice(forms)))


def nested(place: Place) -> HostileLine:
    """Nested as deep as no reader goes; now and then a hundred thousand levels."""
    depth = 100_000 if place.chance.random() < 0.03 else place.chance.choice((1_100, 3_000))
    open_, close = place.chance.choice((("[", "]"), ('{"a":', "}")))
    inner = open_ * depth + ("1" if close == "}" else "") + close * depth
    start = place.chance.choice(
        ('{"repo": "repo", "path": "x", "deep": ', '{"path": "\\u0061", "x": ', '{"new_changeset": ')
    )
    return bad(start + (inner if place.chance.random() < 0.8 else open_ * depth) + "}")


def wrong_rename(place: Place) -> HostileLine:
    """Arrows and quotes that can be read two ways, or none."""
    name = place.name
    forms = (f"{name} -> b -> c", f" -> {name}", f"{name} -> ", f'"{name} -> b', f'"{name}"x -> b', f'"{name}\\9" -> b')
    forms += (f'"{name}\\400"', f'"{name}\\377"', f'"{name}"x', f'{name} -> "b', f'"\\{name}"')
    return bad(record(place.chance.choice(forms), content="x\n"))


def no_record(place: Place) -> HostileLine:
    """JSON that is no record, and marks where they do not belong: taken as paths, of files that are not there."""
    forms = (
        "[]",
        "null",
        "true",
        "7",
        '"',
        '""',
        "[{}]",
        "\ufeff",
        "\ufeff{}",
        "{",
        "{}",
        "{]",
        "{'path': 1}",
        "#",
        "//",
        "<xml/>",
    )
    form = place.chance.choice(forms)
    is_path = not form.startswith("{") and form not in ('""', "//")  # which name no file
    return HostileLine(raw=encoded(form), verdict=made.FAILED, document=f"{place.root.name}/{form}" if is_path else "")
