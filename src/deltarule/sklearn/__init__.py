"""scikit-learn's MLPClassifier and MLPRegressor on the compiled engine: change one import.

>>> from deltarule.sklearn import MLPClassifier
>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> model = MLPClassifier(hidden_layer_sizes=(16,), learning_rate_init=0.02, random_state=1).fit(X, y)
>>> model.score(X, y) > 0.95
True

Who does what:

=================  ==========================================================================
classifier         MLPClassifier: labels, probabilities, weights of the classes
regressor          MLPRegressor: targets, losses
perceptron         what both are: constructor's checks, fit, partial_fit, prediction, every delta
solvers            the optimiser under scikit-learn's names, its learning rate and memory
descent            stochastic training: epochs in compiled calls, shuffles drawn ahead
quasi_newton       L-BFGS through SciPy on the engine's gradient
validation         what is held out, and how it is judged after each epoch
callbacks          scikit-learn's callback protocol, where its version has one
=================  ==========================================================================
"""

from deltarule.sklearn.classifier import MLPClassifier
from deltarule.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
