"""deltarule: backpropagation you can train with, see, check and change.

>>> import deltarule as dr
>>> net = dr.Network([784, 30, 10], activation="sigmoid", output="sigmoid", cost="quadratic", seed=0)
>>> net
Network(784 -> 30 sigmoid -> 10 sigmoid; cost quadratic, float32, 23,860 parameters)
"""

from deltarule import data, rules
from deltarule.activations import ACTIVATIONS, Activation
from deltarule.blame import Blame
from deltarule.check import CheckReport, check
from deltarule.comparison import Comparison, compare_rules
from deltarule.costs import COSTS, Cost
from deltarule.edits import Step
from deltarule.errors import BadFile, BadInput, DeltaruleError, Diverged, MissingExtra, NoSuchLayer
from deltarule.explain import Explanation, explain
from deltarule.flow import Flow
from deltarule.formula import Derivation, Verdict, check_formula, derive
from deltarule.history import History
from deltarule.inits import INITS
from deltarule.network import Network
from deltarule.optimizers import SGD, Adam, AdamHat, AdamW, Momentum, Nesterov, Optimizer, RMSProp
from deltarule.remedies import Change, Remedy
from deltarule.schedules import Constant, Cosine, EarlyStopping, Inverse, OnPlateau, Schedule
from deltarule.store import load
from deltarule.trace import Trace
from deltarule.verdicts import Fault
from deltarule.watched import Watched

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "COSTS",
    "INITS",
    "SGD",
    "Activation",
    "Adam",
    "AdamHat",
    "AdamW",
    "BadFile",
    "BadInput",
    "Blame",
    "Change",
    "CheckReport",
    "Comparison",
    "Constant",
    "Cosine",
    "Cost",
    "DeltaruleError",
    "Derivation",
    "Diverged",
    "EarlyStopping",
    "Explanation",
    "Fault",
    "Flow",
    "History",
    "Inverse",
    "MissingExtra",
    "Momentum",
    "Nesterov",
    "Network",
    "NoSuchLayer",
    "OnPlateau",
    "Optimizer",
    "RMSProp",
    "Remedy",
    "Schedule",
    "Step",
    "Trace",
    "Verdict",
    "Watched",
    "check",
    "check_formula",
    "compare_rules",
    "data",
    "derive",
    "explain",
    "load",
    "rules",
]
