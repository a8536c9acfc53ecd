"""Keeps a vector index of many git repositories true, one changeset line at a time."""
