"""How others do the same work on the same Weaviate server: LangChain and LlamaIndex, at their best settings.

``python -m benchmarks.peers`` prints the table. The peers run in an environment of their own (``environment.py``); the
modules that run there (``langchain_sync``, ``llamaindex_sync`` and what they share: ``embedder``, ``documents``,
``orders``, ``connection``) import nothing of this project's package and only what ``requirements.txt`` names.
"""
