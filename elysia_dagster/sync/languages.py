"""The programming or markup language of a file, by its name; the names are GitHub linguist's, in lower case."""

_BY_EXTENSION = {
    "asciidoc": "adoc asciidoc",
    "bash": "bash bats ksh sh zsh",
    "batch": "bat cmd",
    "c": "c h",
    "clojure": "clj cljc cljs edn",
    "cmake": "cmake",
    "cpp": "c++ cc cpp cxx h++ hh hpp hxx inl ipp",
    "csharp": "cs csx",
    "css": "css",
    "csv": "csv tsv",
    "cuda": "cu cuh",
    "dart": "dart",
    "diff": "diff patch",
    "dockerfile": "dockerfile",
    "elixir": "ex exs",
    "elm": "elm",
    "erlang": "erl hrl",
    "fsharp": "fs fsi fsx",
    "go": "go",
    "gradle": "gradle",
    "graphql": "gql graphql",
    "groovy": "groovy",
    "haskell": "hs lhs",
    "hcl": "hcl tf tfvars",
    "html": "htm html xhtml",
    "ini": "cfg conf ini properties",
    "java": "java",
    "javascript": "cjs es6 js jsx mjs",
    "json": "json json5 jsonc jsonl webmanifest",
    "julia": "jl",
    "jupyter notebook": "ipynb",
    "kotlin": "kt kts",
    "less": "less",
    "lua": "lua",
    "makefile": "mak mk",
    "markdown": "markdown md mdown mdx",
    "nim": "nim",
    "nix": "nix",
    "objective-c": "m mm",
    "ocaml": "ml mli",
    "perl": "pl pm",
    "php": "php php3 php4 php5 phtml",
    "powershell": "ps1 psd1 psm1",
    "protocol buffer": "proto",
    "python": "py pyi pyw pyx",
    "r": "r rmd",
    "restructuredtext": "rst",
    "ruby": "gemspec rake rb ru",
    "rust": "rs",
    "sass": "sass",
    "scala": "sbt sc scala",
    "scss": "scss",
    "sql": "ddl sql",
    "starlark": "bzl star",
    "svelte": "svelte",
    "swift": "swift",
    "text": "log text txt",
    "thrift": "thrift",
    "toml": "toml",
    "typescript": "cts mts ts tsx",
    "vue": "vue",
    "xml": "csproj plist xml xsd xsl xslt",
    "yaml": "yaml yml",
    "zig": "zig",
}
_LANGUAGE_OF_EXTENSION = {ext: language for language, exts in _BY_EXTENSION.items() for ext in exts.split()}
_LANGUAGE_OF_NAME = {
    ".bash_profile": "bash",
    ".bashrc": "bash",
    ".zshrc": "bash",
    "build": "starlark",
    "cmakelists.txt": "cmake",
    "containerfile": "dockerfile",
    "dockerfile": "dockerfile",
    "gemfile": "ruby",
    "gnumakefile": "makefile",
    "jenkinsfile": "groovy",
    "makefile": "makefile",
    "pkgbuild": "bash",
    "rakefile": "ruby",
    "vagrantfile": "ruby",
    "workspace": "starlark",
}


def extension_of(path: str) -> str:
    """The last extension of a file's name, lower case, without the dot; ``""`` if it has none, as ``.gitignore``."""
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot and stem else ""


def language_of(path: str) -> str:
    """The language of the file at ``path``, such as ``python``; ``""`` if its name does not say."""
    named = _LANGUAGE_OF_NAME.get(path.rpartition("/")[2].lower())
    return named or _LANGUAGE_OF_EXTENSION.get(extension_of(path), "")
