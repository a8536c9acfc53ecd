"""This project and a bare loop of ``insert_many`` as contenders beside the peers, on the same Weaviate server.

``own_sync`` and ``bare_insert`` are their scripts, in this project's environment; ``contenders`` sets them up.
"""
