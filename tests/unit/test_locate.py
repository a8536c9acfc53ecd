"""Where a repository lies is decided once, whatever lies around; two that could be meant are told, not guessed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elysia_dagster.errors import LineError
from elysia_dagster.sync import locate
from elysia_dagster.sync.locate import Locator, is_outside

Make = Callable[..., Locator]


@pytest.fixture
def locator() -> Iterator[Make]:
    """Makes locators that are closed at the end."""
    made: list[Locator] = []

    def make(*roots: Path, repo: str = "", decided: dict[str, str] | None = None) -> Locator:
        made.append(Locator(list(roots), repo, decided))
        return made[-1]

    yield make
    for each in made:
        each.close()


def tree(folder: Path) -> Path:
    """A git working tree, as far as it is told from outside."""
    (folder / ".git").mkdir(parents=True)
    return folder


def place(locator: Locator, repository: str) -> Path | None:
    folder = locator.folder(repository)
    return folder.path if folder is not None else None


def test_below_a_root_that_holds_repositories(locator: Make, tmp_path: Path) -> None:
    tree(tmp_path / "web")
    (tmp_path / "plain").mkdir()
    found = locator(tmp_path)
    assert place(found, "web") == tmp_path / "web"
    assert place(found, "plain") == tmp_path / "plain"
    assert found.decisions() == {"web": str(tmp_path / "web"), "plain": str(tmp_path / "plain")}


def test_a_root_that_is_the_repository(locator: Make, tmp_path: Path) -> None:
    root = tree(tmp_path / "web")
    found = locator(root)
    assert found.default == "web"
    assert place(found, "web") == root
    assert place(found, "named by its producer") == root, "a working tree is the only repository there is"


def test_a_package_of_the_repositorys_name_inside_it(locator: Make, tmp_path: Path) -> None:
    root = tree(tmp_path / "elysia")
    (root / "elysia").mkdir()
    for found in (locator(root), locator(root, repo="elysia")):
        assert place(found, "elysia") == root
        assert found.relative("elysia", "elysia/a.py") == "elysia/a.py"


def test_a_package_of_the_name_that_was_given(locator: Make, tmp_path: Path) -> None:
    root = tree(tmp_path / "checkout")
    (root / "elysia").mkdir()
    found = locator(root, repo="elysia")
    assert found.default == "elysia"
    assert place(found, "elysia") == root


def test_a_working_tree_inside_a_working_tree_is_itself(locator: Make, tmp_path: Path) -> None:
    root = tree(tmp_path / "outer")
    tree(root / "inner")
    assert place(locator(root), "inner") == root / "inner"


def test_the_folder_below_or_the_root_itself_is_decided_once_and_kept(locator: Make, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    first = locator(tmp_path)
    assert place(first, "repo") == tmp_path / "repo"
    (tmp_path / "repo").rename(tmp_path / "moved")
    assert place(first, "repo") == tmp_path / "repo"
    (tmp_path / "moved").rename(tmp_path / "repo")
    other = tree(tmp_path / "other" / "repo")
    assert place(locator(tmp_path, decided={"repo": str(other)}), "repo") == other


def test_a_root_that_stands_in_is_not_decided_for_ever(locator: Make, tmp_path: Path) -> None:
    found = locator(tmp_path)
    assert place(found, "later") == tmp_path
    assert found.decisions() == {}
    tree(tmp_path / "later")
    assert place(locator(tmp_path, decided=found.decisions()), "later") == tmp_path / "later"


def test_several_roots(locator: Make, tmp_path: Path) -> None:
    tree(tmp_path / "one" / "a")
    tree(tmp_path / "two" / "b")
    found = locator(tmp_path / "one", tmp_path / "two")
    assert place(found, "a") == tmp_path / "one" / "a"
    assert place(found, "b") == tmp_path / "two" / "b"


@pytest.mark.parametrize("where", ["two roots", "beside and deeper", "two plain folders"])
def test_two_repositories_of_one_name_are_told_and_not_guessed(where: str, locator: Make, tmp_path: Path) -> None:
    roots = [tmp_path]
    if where == "two roots":
        roots = [tmp_path / "one", tmp_path / "two"]
        places = [tree(root / "api") for root in roots]
    elif where == "two plain folders":
        roots = [tmp_path / "one", tmp_path / "two"]
        places = [root / "api" for root in roots]
        for each in places:
            each.mkdir(parents=True)
    else:
        places = [tree(tmp_path / "api"), tree(tmp_path / "team" / "api")]
    found = locator(*roots)
    for _ in range(2):
        with pytest.raises(LineError, match=r"api could be any of: .*cannot be told apart.*one by one") as told:
            found.folder("api")
        assert all(str(each) in str(told.value) for each in places)
        assert not told.value.permanent, "the roots may be mended"
    assert found.decisions() == {}


def test_one_working_tree_among_plain_folders_of_its_name(locator: Make, tmp_path: Path) -> None:
    (tmp_path / "one" / "api").mkdir(parents=True)
    api = tree(tmp_path / "two" / "api")
    assert place(locator(tmp_path / "one", tmp_path / "two"), "api") == api


def test_a_root_that_is_a_symbolic_link(locator: Make, tmp_path: Path) -> None:
    real = tmp_path / "real"
    tree(real / "web")
    link = tmp_path / "link"
    link.symlink_to(real)
    found = locator(link)
    assert place(found, "web") == real / "web"
    assert found.default == "real"
    assert found.relative("web", f"{link}/web/a.py") == "a.py"
    assert found.relative("web", f"{real}/web/a.py") == "a.py"


def test_a_repository_behind_a_link_is_not_one(locator: Make, tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere" / "web")
    root = tmp_path / "root"
    root.mkdir()
    (root / "web").symlink_to(tmp_path / "elsewhere" / "web")
    assert place(locator(root), "web") == root


@pytest.mark.parametrize(
    ("path", "relative"),
    [("a.py", "a.py"), ("./x//a.py", "x/a.py"), ("{root}/web/a.py", "a.py"), ("{root}/web/x/./a.py", "x/a.py")],
)
def test_paths_inside(path: str, relative: str, locator: Make, tmp_path: Path) -> None:
    tree(tmp_path / "web")
    assert locator(tmp_path).relative("web", path.format(root=tmp_path)) == relative


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{root}/other/a.py", "{root}/web-2/a.py", "{root}/web/../other/a.py", "../other/a.py", "{root}"],
)
def test_paths_outside(path: str, locator: Make, tmp_path: Path) -> None:
    tree(tmp_path / "web")
    with pytest.raises(LineError, match=r"outside the roots|'\.\.'"):
        locator(tmp_path).relative("web", path.format(root=tmp_path))


def test_a_default_name_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LineError, match="not a folder's name"):
        Locator([tmp_path], "../..")
    assert Locator([Path("/")], "").default == "root"


def test_only_so_many_folders_are_open_at_once(locator: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "OPEN_FOLDERS", 4)
    for number in range(30):
        (tmp_path / f"r{number}").mkdir()
    found = locator(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for number in [*range(30), *range(30)]:
        assert place(found, f"r{number}") == tmp_path / f"r{number}"
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    assert len(found.decisions()) == 30


@pytest.mark.parametrize(
    ("line", "outside"),
    [
        (b"/etc/passwd", True),
        (b'{"path": "/etc/passwd"}', True),
        (b"/etc/passwd\r", True),
        (b"{root}/a.py", False),
        (b"{root}-2/a.py", True),
        (b"a.py", False),
        (b"../a.py", False),  # no absolute path: a line that fails by itself
        (b"", False),
        (b"{", False),
        (b'{"path": 7}', False),
        (b'{"new_changeset": {}}', False),
        (b"\xff", False),
        (b'{"path": "/\\ud800"}', False),
    ],
)
def test_lines_that_name_an_absolute_path_outside(line: bytes, outside: bool, tmp_path: Path) -> None:
    assert is_outside(line.replace(b"{root}", os.fsencode(tmp_path)), [tmp_path]) is outside


def test_nothing_is_outside_the_root_of_all(tmp_path: Path) -> None:
    assert not is_outside(b"/etc/passwd", [Path("/")])
    (tmp_path / "link").symlink_to("/etc")
    assert not is_outside(b"/etc/passwd", [tmp_path / "link"])


@pytest.mark.parametrize("name", ["..", "../x", "", "a/../b", "/etc", "web/.git", "a\0"])
def test_a_name_that_leads_elsewhere_opens_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "root").mkdir()
    locator = Locator([tmp_path / "root"], "")
    with pytest.raises(LineError, match="not a folder's name beneath a root"):
        locator.folder(name)
    locator.close()


def test_without_a_root_no_repository_has_a_folder(locator: Make) -> None:
    found = locator()
    assert (place(found, "web"), found.decisions()) == (None, {})
    assert found.relative("web", "a.py") == "a.py"
    with pytest.raises(LineError):
        found.folder("../etc")
