"""A pipeline as a whole: what is wrong with it, before anything starts; and its compose files.

What a pipeline is, and how its file is read, is in `producer.runtime.pipeline`.
"""
