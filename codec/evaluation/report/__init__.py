"""A report of an evaluation: one self-contained HTML page."""

from codec.evaluation.report.page import Comparison, compare, report

__all__ = ["Comparison", "compare", "report"]
