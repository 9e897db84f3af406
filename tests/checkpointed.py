"""The training that test_checkpoint kills and goes on with: every part that has a state takes part."""

from __future__ import annotations

import deltarule as dr


def train(folder, epochs=12):
    """Network and history of a training with dropout, Adam, a schedule that looks back, and early stopping."""
    split = dr.data.digits()
    net = dr.Network([64, 40, 10], "relu", "softmax", "log_likelihood", seed=5)
    history = net.fit(
        *split.train,
        epochs=epochs,
        batch_size=10,
        optimizer=dr.Adam(0.002),
        dropout=0.1,
        l2=1e-4,
        validation=split.validation,
        schedule=dr.OnPlateau(patience=1),
        early_stopping=dr.EarlyStopping(patience=50),
        checkpoint=folder,
    )
    return net, history
