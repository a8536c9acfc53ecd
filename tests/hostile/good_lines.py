"""Lines that must be applied, odd as they are; some of their makers make a bad twin as well."""

import base64
import json

from hostile import folder as made
from hostile.model import COMPLETED, HostileLine, Place, bad, encoded, good, record


def ordinary(place: Place) -> HostileLine:
    """A good line in one of its forms."""
    path, text = f"good/{place.name}.py", f"good = {place.number}\n"
    data = text.encode()
    match place.chance.randrange(5):
        case 0:
            return good(record(path, content_base64=base64.b64encode(data).decode()), path, data)
        case 1:
            quoted = f'"good/\\303\\274{place.name}.py"'
            return good(record(quoted, content=text), f"good/ü{place.name}.py", data)
        case 2:
            return good(json.dumps(record(path, content=text)) + "\r", path, data)
        case 3:
            return good(record(path, content=text, size=10**30, x=[[{}]] * 9), path, data)
        case _:
            return good(record(path, content=text), path, data)


def odd_name(place: Place) -> HostileLine:
    """Names that are only odd: each is a document of its own."""
    names = (
        "e\u0301{}",
        "\u00e9{}",
        "\u202e{}",
        "\ufeff{}",
        "\u200b{}",
        "%2e%2e/{}",
        "..\\{}",
        "{}.",
        "{} ",
        " {}",
        "...{}",
    )
    names += (
        "a\x07{}",
        "\x1b[31m{}",
        "{}\x7f",
        "'; DROP TABLE documents; --{}",
        "{}%_",
        "-{}",
        "\U0001f600{}",
        "{}\u2028",
    )
    path = place.chance.choice(names).format(place.name) + place.chance.choice(("", "", "/x", "x" * 300))
    text = f"odd {place.number}\n"
    return good(record(path, content=text), path, text.encode())


def spelled_otherwise(place: Place) -> HostileLine:
    """Spellings of one path."""
    path = f"spelled/{place.name}.py"
    written = place.chance.choice(("./{}", ".//{}", "{}", "././/./{}")).format(path)
    if place.chance.random() < 0.3:
        written = f"{place.root}/repo/{path}"
    return good(record(written, content="x = 1\n"), path, b"x = 1\n")


def doubled_key(place: Place) -> HostileLine:
    """Of two fields with one name the last counts."""
    path = f"doubled/{place.name}.py"
    right, wrong = f'"path": "{path}"', place.chance.choice(('"path": "../../etc/passwd"', '"path": 7', '"path": null'))
    rest = '"repo": "repo", "op": "add", "content": "x = 2\\n"'
    if place.chance.random() < 0.5:
        return good(f"{{{rest}, {wrong}, {right}}}", path, b"x = 2\n")
    return bad(f"{{{rest}, {right}, {wrong}}}")


def right_reference(place: Place) -> HostileLine:
    """``content_ref`` of a file that is there."""
    path = f"referred/{place.name}"
    name, way = place.chance.choice((("plain.py", "plain.py"), ("plain.py", "repo/plain.py"), ("%2e%2e", "./%2e%2e")))
    return good(record(path, content_ref=way), path, place.files[name][1])


def rename_in_circles(place: Place) -> HostileLine:
    """A rename onto itself is a write."""
    path = f"circle/{place.name}"
    return good(record(f"{path} -> {path}", content="round\n"), path, b"round\n")


def file_on_disk(place: Place) -> HostileLine:
    """A file of the hostile folder; which of them is a document, the folder says."""
    path = place.chance.choice(list(place.files))
    verdict, data = place.files[path]
    line: str | dict[str, object] = record(path)
    repository = "repo"
    if verdict == made.INDEXED and path.isprintable() and path == path.strip() and place.chance.random() < 0.3:
        line, repository = f"repo/{path}", place.root.name  # as a file of the repository that the root is
    document = f"{repository}/{path}" if repository == "repo" else f"{repository}/repo/{path}"
    leaves = {document: data if verdict == made.INDEXED else None}
    is_listed = document == "repo/deep/er/x.py"  # a folder line may come to it later, or has before
    return HostileLine(
        raw=encoded(line),
        verdict=COMPLETED if is_listed else verdict,
        leaves=leaves,
        document="" if is_listed else document,
    )


def folder_line(place: Place) -> HostileLine:
    """A folder that is there, one that is not, and one that leads out or round."""
    if place.chance.random() < 0.3:
        return HostileLine(
            raw=encoded(record("deep/")),
            verdict=COMPLETED,
            leaves={"repo/deep/er/x.py": place.files["deep/er/x.py"][1]},
        )
    wrong = (
        "missing/",
        "link-out-folder/",
        "link-here/",
        "link-self/",
        "link-up/",
        "plain.py/",
        "fifo/",
        "../",
        "/",
        "//",
        "link-chain-1/",
    )
    return bad(record(place.chance.choice(wrong)))


def removed(place: Place) -> HostileLine:
    """Removals of what is not there, and of folders in folders: nothing else may go."""
    path = place.chance.choice(
        ("gone/{}", "gone/", "gone/in/", "gone/in/in/", "goo/", "good/line/", "%/", "_/")
    ).format(place.name)
    return HostileLine(raw=encoded(record(path, op="delete")), verdict=COMPLETED)


def changeset_record(place: Place) -> HostileLine:
    """Where a repository stands; some cannot be."""
    commit = f"{place.number:040x}"
    if place.chance.random() < 0.5:
        line: dict[str, object] = {
            "repo": f"stands{place.number % 5}",
            "new_changeset": {"commit": commit, "x": [None, 1.5]},
        }
        return HostileLine(raw=encoded(line), verdict="changeset")
    wrong = place.chance.choice(
        ([], {"commit": 7}, {"branch": ["a"]}, {"commit": "c\0"}, {"commit": "c" * 70_000}, "c")
    )
    return bad({"repo": "repo", "new_changeset": wrong})


def nothing(place: Place) -> HostileLine:
    """Lines without anything in them."""
    raw = place.chance.choice((b"", b"\r", b" ", b"\t \t", b"\x0b\x0c"))
    return HostileLine(raw=raw, verdict="blank")


def endless(place: Place) -> HostileLine:
    """Five megabytes: cut off, a path, or a document after all."""
    size = 5_000_000
    match place.chance.randrange(4):
        case 0:
            return bad(f'{{"repo": "repo", "path": "{"x" * size}')
        case 1:
            return bad("y" * size)
        case 2:
            return bad(record(f"endless/{place.name}", content_base64="A" * (size - 3) + "!=="))
        case _:
            path, text = f"endless/{place.name}.txt", "endless words\n" * 4_000 + " " * size
            return good(record(path, content=text), path, text.encode())
