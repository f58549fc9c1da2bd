"""Quantisation, networks, training and export of models.

They need the extra ``train``: torch, compressai, lightning, pydantic and onnx.

Four floors, each of which imports only from itself and from those below: ``export``, ``training``, ``networks``,
``quantization``.
"""
