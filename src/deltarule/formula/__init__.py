"""Formulas of backpropagation, read as people paste them and judged against real numbers.

Nothing is ever evaluated as code: the text becomes a small tree, and the tree is computed on networks.
"""

from deltarule.formula.derivation import Derivation, derive
from deltarule.formula.judge import check_formula
from deltarule.formula.verdict import Verdict

__all__ = ["Derivation", "Verdict", "check_formula", "derive"]
