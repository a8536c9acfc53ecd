"""A folder that means harm: links out and in circles, FIFOs, sockets, devices, sparse files, broken text, odd names.

Beside the root, and in a ``.git``, lies the canary: its words may be in no store, no database and no message.
"""

import codecs
import os
import socket
from pathlib import Path

CANARY = "canary-7f3e9d51: what nobody may read"

INDEXED, SKIPPED, FAILED = "indexed", "skipped", "failed"

_TEXT = "größe = 1\n日本語\n"


def make_folder(root: Path) -> dict[str, tuple[str, bytes]]:
    """Makes it; what a line that names each path of the repository ``repo`` comes to, and the content if any."""
    outside = root.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    for place in (outside / "secret.txt", outside / "deep" / "secret.txt", root.parent / "secret.txt"):
        place.write_text(CANARY)
    (root.parent / f"{root.name}-2").mkdir()
    (root.parent / f"{root.name}-2" / "secret.txt").write_text(CANARY)
    repo = root / "repo"
    (repo / "deep" / "er").mkdir(parents=True)
    (repo / ".git").mkdir()
    (repo / ".git" / "config").write_text(CANARY)
    made: dict[str, tuple[str, bytes]] = {}
    for name, data in _files().items():
        (repo / name).write_bytes(data)
        made[name] = (INDEXED, data)
    for name, data in _no_text().items():
        (repo / name).write_bytes(data)
        made[name] = (SKIPPED, b"")
    (repo / "cut-utf16.txt").write_bytes(codecs.BOM_UTF16_LE + "odd".encode("utf-16-le")[:-1])
    made["cut-utf16.txt"] = (FAILED, b"")
    with (repo / "sparse.bin").open("wb") as file:
        file.truncate(1 << 40)
    with (repo / "sparse-small.bin").open("wb") as file:
        file.truncate(1 << 20)
    made |= {"sparse.bin": (FAILED, b""), "sparse-small.bin": (SKIPPED, b"")}
    for name, (target, verdict) in _links(root).items():
        (repo / name).symlink_to(target)
        made[name] = (verdict, b"")
    made |= dict.fromkeys(_THROUGH_LINKS, (FAILED, b""))
    _make_devices(repo)
    made |= dict.fromkeys(("fifo", "socket", "device"), (FAILED, b""))
    (root / "linked").symlink_to("../outside")
    return made


_THROUGH_LINKS = (
    "link-up/repo/plain.py",
    "link-out-folder/secret.txt",
    "link-out-folder/deep/secret.txt",
    "link-here/plain.py",
    "link-here/link-here/link-out-folder/secret.txt",
    "link-chain-1/secret.txt",
    "link-root/etc/passwd",
    "plain.py/below",
    "fifo/below",
)


def _links(root: Path) -> dict[str, tuple[str, str]]:
    return {
        "link-out": ("../../outside/secret.txt", FAILED),
        "link-absolute": (str(root.parent / "outside" / "secret.txt"), FAILED),
        "link-passwd": ("/etc/passwd", FAILED),
        "link-sibling": (f"../../{root.name}-2/secret.txt", FAILED),
        "link-null": ("/dev/null", FAILED),
        "link-proc": ("/proc/self/environ", FAILED),
        "link-self": ("link-self", FAILED),
        "link-one": ("link-two", FAILED),
        "link-two": ("link-one", FAILED),
        "link-chain-1": ("link-chain-2", FAILED),
        "link-chain-2": ("deep/../link-chain-3", FAILED),
        "link-chain-3": ("../../outside", FAILED),
        "link-in-disguise": ("deep/../../../outside/secret.txt", FAILED),
        "link-in": ("plain.py", SKIPPED),
        "link-up": ("..", FAILED),
        "link-root": ("/", FAILED),
        "link-out-folder": ("../../outside", FAILED),
        "link-here": (".", SKIPPED),
    }


def _files() -> dict[str, bytes]:
    """Text of every encoding, and names that a careless program takes for something else."""
    marked = {
        "utf-8-sig": "utf-8-sig",
        "utf-16-le": "utf-16-le",
        "utf-16-be": "utf-16-be",
        "utf-32-le": "utf-32-le",
        "utf-32-be": "utf-32-be",
    }
    marks = {
        "utf-16-le": codecs.BOM_UTF16_LE,
        "utf-16-be": codecs.BOM_UTF16_BE,
        "utf-32-le": codecs.BOM_UTF32_LE,
        "utf-32-be": codecs.BOM_UTF32_BE,
    }
    files = {f"{name}.txt": marks.get(name, b"") + _TEXT.encode(codec) for name, codec in marked.items()}
    for codec in ("cp1252", "cp1251", "shift_jis", "euc_jp", "iso2022_jp", "gb18030", "koi8-r"):
        text = {"cp1252": "größe für café\n", "cp1251": "Съешь же ещё\n", "koi8-r": "Съешь же ещё\n"}
        files[f"{codec}.txt"] = (text.get(codec, "漢字と仮名\n") * 5).encode(codec)
    names = (
        "plain.py",
        "..hidden",
        "...",
        "%2e%2e",
        "..%2fsecret.txt",
        "back\\slash",
        "..\\up",
        "trailing.",
        "trailing ",
    )
    names += (
        " leading",
        "-n",
        "~",
        "$HOME",
        "new\tline",
        "re\u202eversed.txt",
        "zero\u200bwidth",
        "\ufeffmarked",
        "x" * 255,
    )
    names += (
        "e\u0301.txt",
        "\u00e9.txt",
        "CON",
        "nul.txt",
        "a:b",
        "*",
        "?",
        "CVE'; DROP TABLE--",
        ".GIT",
        "deep/er/x.py",
    )
    files |= {name: f"named {number}\n".encode() for number, name in enumerate(names)}
    files["cut-utf8.txt"] = _TEXT.encode() * 9 + b"\xe6\x97"
    files["overlong.txt"] = b"a\xc0\xafb\n" + _TEXT.encode() * 9
    files["one-line.js"] = b"x" * 300_000
    files["nested.json"] = b"[" * 50_000
    files["escapes.txt"] = b"\x1b[2Jred\x1b[0m plain text all the same, with enough of it\n"
    return files


def _no_text() -> dict[str, bytes]:
    return {
        "binary.bin": bytes(range(256)) * 20,
        "elf": b"\x7fELF" + b"a" * 99,
        "archive.gz": b"\x1f\x8b\x08" + b"a" * 99,
        "empty": b"",
        "only-a-mark": codecs.BOM_UTF8,
        "white.txt": b" \n\t\r\n" * 99,
        "utf16-without-mark": "text".encode("utf-16-le") * 9,
    }


def _make_devices(repo: Path) -> None:
    os.mkfifo(repo / "fifo")
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(repo)  # a socket's path is limited to 108 bytes
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    try:
        os.mknod(repo / "device", 0o20600, os.makedev(1, 5))  # endless zeros
    except PermissionError:
        os.mkfifo(repo / "device")
