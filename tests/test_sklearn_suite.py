"""scikit-learn's own tests of its MLP, run against ours: its installed module with the two classes replaced."""

from __future__ import annotations

import sklearn.neural_network.tests.test_mlp as theirs

import deltarule.sklearn as ours

theirs.MLPClassifier, theirs.MLPRegressor = ours.MLPClassifier, ours.MLPRegressor
