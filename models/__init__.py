"""Quantisation, networks, training and export of models. Needs the extra ``train``: torch, compressai, lightning.

Four floors, each of which imports only from itself and from those below: ``export``, ``training``, ``networks``,
``quantization``.
"""
