"""The figures reach TensorBoard's files, Lightning's loggers and Transformers' log, through the real libraries."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import zoo
from torch.nn import functional as F

from deltarule.errors import BadInput
from deltarule.lens import lightning_callback, scalars, to_tensorboard, transformers_callback, watch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def trained(steps: int, every: int):
    model = zoo.mlp(64, 32, 10)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = zoo.digits()
    with watch(model, every=every) as flow:
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return flow


def test_a_plain_dictionary_for_any_logger():
    flow = trained(1, 1)
    found = scalars(flow.flow, prefix="")
    by_name = {move.name: move for move in flow.rows if move.step == "weights"}
    assert found["error/0"] == by_name["0"].norm_in
    assert found["gain/2"] == by_name["2"].gain
    assert math.isclose(found["total"], by_name["0"].norm_in / by_name["2"].norm_in)
    assert found["healthy"] == 1.0
    assert found["dead/1"] == next(move.dead for move in flow.rows if move.op == "relu")


def test_tensorboards_files_hold_the_flow(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own
        tensorboard = pytest.importorskip("torch.utils.tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    flow = trained(21, 10)
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        done = to_tensorboard(flow, writer)
        assert done == 3
        assert to_tensorboard(flow, writer, done) == 3, "nothing is written twice"
    events = EventAccumulator(str(tmp_path)).Reload()
    kept = events.Scalars("flow/error/0")
    assert [event.step for event in kept] == [1, 11, 21]
    for event, one in zip(kept, flow, strict=True):
        assert math.isclose(event.value, scalars(one)["flow/error/0"], rel_tol=1e-6)
    with pytest.raises(BadInput, match="SummaryWriter"):
        to_tensorboard(flow, "runs/")


@pytest.mark.filterwarnings("ignore")  # Lightning's and Transformers' own
def test_lightning_trains_under_a_watch(tmp_path):
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.loggers import CSVLogger

    class Digits(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = zoo.mlp(64, 32, 10)

        def training_step(self, batch, number):
            x, y = batch
            return F.cross_entropy(self.net(x), y)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*zoo.digits(320)), batch_size=32)
    callback, logger = lightning_callback(every=4), CSVLogger(tmp_path)
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=[callback],
        logger=logger,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Digits(), data)
    assert callback.watch.steps == (1, 5, 9, 13, 17)
    assert {move.name for move in callback.watch.rows if move.step == "weights"} == {"net.0", "net.2"}
    assert callback.watch.verdict == "healthy"
    assert not callback.watch.open
    logger.save()
    text = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
    assert "flow/error/net.0" in text.splitlines()[0]
    assert len(text.splitlines()) == 6


@pytest.mark.filterwarnings("ignore")
def test_transformers_trains_under_a_watch(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.BertConfig(
        vocab_size=17,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=10,
        max_position_embeddings=64,
    )
    model = transformers.BertForSequenceClassification(config)
    x, y = zoo.digits(64)
    words = (16 * x).round().long()[:, 16:48]
    data = [{"input_ids": row, "labels": label} for row, label in zip(words, y, strict=True)]
    callback = transformers_callback(every=2)
    settings = transformers.TrainingArguments(
        str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=16,
        logging_steps=2,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model, settings, train_dataset=data, callbacks=[callback])
    trainer.train()
    assert callback.watch.steps == (1, 3, 5)
    assert not callback.watch.open
    names = {move.name for move in callback.watch.rows if move.step == "weights"}
    assert "bert.encoder.layer.1.attention.self.query" in names
    assert "classifier" in names
    assert callback.watch.verdict == "healthy"
    logged = [entry for entry in trainer.state.log_history if "flow/total" in entry]
    assert len(logged) == 3
