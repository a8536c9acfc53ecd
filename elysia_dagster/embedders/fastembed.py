"""Embeddings by a small ONNX model on this machine, through fastembed (the extra ``fastembed``).

The size of the vectors is in fastembed's own list of models, so that nothing is downloaded before the first text;
then the model comes from its hub, or from fastembed's cache folder (``FASTEMBED_CACHE_PATH``, which fastembed itself
reads).
"""

import importlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from elysia_dagster.embedders.taken import Refusal, Taken, take_by_halves
from elysia_dagster.embedders.vectors import estimate_tokens, sendable
from elysia_dagster.errors import EmbedderUnavailable, UsageError

_PROBE = "probe"
_ONNX_OF_CONTENT = frozenset({"Fail", "InvalidArgument", "RuntimeException"})


class FastembedEmbedder:
    """Embeds texts by ``model``, a name of fastembed's list such as ``BAAI/bge-small-en-v1.5``.

    Raises ``UsageError`` where the package is missing or does not know the model.
    """

    def __init__(self, model: str) -> None:
        try:
            # by name: the package is an extra, and its types are not there to be checked against
            self._text_embedding: Any = importlib.import_module("fastembed").TextEmbedding
        except ModuleNotFoundError as error:
            raise UsageError(
                "the fastembed embedder needs the package fastembed.",
                next_step="Install it: pip install 'elysia_dagster[fastembed]'.",
            ) from error
        sizes = {known["model"].lower(): int(known["dim"]) for known in self._text_embedding.list_supported_models()}
        if model.lower() not in sizes:
            raise UsageError(
                f"fastembed has no model {model!r}.",
                next_step="fastembed.TextEmbedding.list_supported_models() lists what it has.",
            )
        self.model_id = f"fastembed:{model}"
        self.dimensions = sizes[model.lower()]
        self._model_name = model
        self._model: Any = None
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 of shape ``(len(texts), dimensions)``, rows L2-normalised, zero for a blank text.

        Raises ``EmbedderUnavailable`` when the model cannot be had, ``LineError`` for the first text on which it fails
        while it takes another. One text batch at a time: ONNX itself uses all cores.
        """
        return self.embed_taken(texts).whole()

    def embed_taken(self, texts: Sequence[str]) -> Taken:
        """As ``embed``, but a text on which the model fails keeps no other from its vector."""
        taken = Taken(vectors=np.zeros((len(texts), self.dimensions), dtype=np.float32))
        worded = [index for index, text in enumerate(texts) if text.strip()]
        take_by_halves(texts, worded, taken, attempt=self._raw, probe=self._probe, who=f"the model of {self.model_id}")
        return taken

    def _raw(self, texts: list[str]) -> np.ndarray:
        """Raw vectors ``(len(texts), dimensions)``, or ``Refusal``."""
        with self._lock:
            model = self._loaded()
            try:
                raw = np.stack(list(model.embed([sendable(text) for text in texts])))
            except Exception as error:
                if not _is_of_content(error):
                    raise
                raise Refusal(_first_line(error), permanent=False) from error
        expected = (len(texts), self.dimensions)
        if raw.shape != expected:
            raise EmbedderUnavailable(
                f"{self.model_id} gave vectors of shape {raw.shape} where {expected} is expected.",
                next_step="Install another version of fastembed.",
            )
        return raw

    def _probe(self) -> None:
        """Raises ``EmbedderUnavailable`` where the model fails on a harmless word, too."""
        try:
            if np.isfinite(self._raw([_PROBE])).all():
                return
            reason = "vectors that are not numbers"
        except Refusal as refusal:
            reason = str(refusal)
        raise EmbedderUnavailable(
            f"{self.model_id} fails on every text: {reason}.",
            next_step="Choose another --embedder, or free memory, then run the same command again.",
        )

    def count_tokens(self, texts: Sequence[str]) -> int:
        """An estimate, since a dry run downloads no tokenizer: one token for every four bytes of UTF-8."""
        return estimate_tokens(texts)

    def check(self) -> None:
        """Loads the model, and downloads it the first time; raises ``EmbedderUnavailable``."""
        with self._lock:
            self._loaded()

    def close(self) -> None:
        """Lets go of the model; the next text loads it again."""
        with self._lock:
            self._model = None

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                self._model = self._text_embedding(model_name=self._model_name)
            except (OSError, ValueError) as error:
                # OSError is what requests and huggingface_hub raise, ValueError fastembed's own
                # "Could not load model … from any source" (its issue 259)
                raise EmbedderUnavailable(
                    f"the model of {self.model_id} cannot be had: {_first_line(error)}.",
                    next_step="It is downloaded once: connect this machine, or fill the folder FASTEMBED_CACHE_PATH.",
                ) from error
        return self._model


def _is_of_content(error: Exception) -> bool:
    """Whether a model fails on what it is given, or on how much of it that is.

    Seen with onnxruntime 1.32: a value out of range, or of another type or rank, is ``InvalidArgument``, directly under
    ``Exception``, and so are ``Fail`` and ``RuntimeException`` (memory). The tokenizers raise a bare ``Exception``.
    """
    kind = type(error)
    is_onnx = kind.__module__.startswith("onnxruntime.") and kind.__name__ in _ONNX_OF_CONTENT
    return is_onnx or kind is Exception


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
