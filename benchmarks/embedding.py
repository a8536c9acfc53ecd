"""The offline embedder: how well it finds a function by its docstring, and how fast it is (``embedder_probe``)."""

from benchmarks import embedder_probe
from benchmarks.figures import Figure, Scale
from elysia_dagster.embedders import open_embedder

MUST_MRR = 0.39
MUST_PER_S = 5_000
PAIRS_QUICK = 300
PACKAGES_QUICK = ("click", "fsspec", "jinja2", "requests", "rich")


def run(scale: Scale) -> list[Figure]:
    """MRR@10 by docstring, and functions a second in one process."""
    packages = PACKAGES_QUICK if scale.quick else embedder_probe.PACKAGES
    pairs = embedder_probe.collect_pairs(packages, limit=scale.pick(4_000, PAIRS_QUICK))
    report = embedder_probe.probe(lambda: open_embedder("hashing"), pairs, passes=scale.pick(3, 1))
    return [
        Figure(
            row="embedding",
            what=f"the offline embedder on {report.pairs:,} functions of installed packages, its idf table made of the "
            "standard library",
            measured=f"MRR@10 {report.mrr_docstring:.3f} at {report.warm_functions_per_s:,.0f} functions/s in one "
            f"process ({report.cold_functions_per_s:,.0f} when every word is new)",
            must_reach=f"MRR@10 >= {MUST_MRR} at >= {MUST_PER_S:,} functions/s on two cores",
            reached=report.mrr_docstring >= MUST_MRR and report.warm_functions_per_s >= MUST_PER_S,
            details={"mrr": report.mrr_docstring, "pairs": report.pairs},
        )
    ]
