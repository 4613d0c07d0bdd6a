"""Other people's loops need the same one line and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attach_nets import METHODS, Net, batch, check_zero_outside, net, sgd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import wirings as wr

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]  # their warnings are theirs

STEPS = 6
SAME_LOOPS = ("rigl", "dnw", "snfs")


def by_hand(method: str) -> tuple[Net, wr.Sparsifier]:
    """The plain loop that each framework must agree with."""
    model = net(dtype=torch.float32)
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=STEPS)
    for x, y in loader():
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, sparse


def data() -> TensorDataset:
    return TensorDataset(*batch(n=4 * STEPS, dtype=torch.float32))


def loader() -> DataLoader[Any]:
    return DataLoader(data(), batch_size=4)


def check_same(model: nn.Module, sparse: wr.Sparsifier, method: str) -> None:
    plain, expected = by_hand(method)
    check_zero_outside(sparse)
    assert sparse.step == STEPS
    assert list(sparse.wiring.values()) == list(expected.wiring.values())
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p.cpu(), q, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("prepared_first", [True, False])
@pytest.mark.parametrize("method", SAME_LOOPS)
def test_accelerate(method: str, prepared_first: bool) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed (extra `interop`)")
    accelerator = accelerate.Accelerator(cpu=True)
    model = net(dtype=torch.float32)
    optimizer = sgd(model)
    if not prepared_first:
        sparse = wr.attach(model, optimizer, METHODS[method](), steps=STEPS)
    wrapped, outer, batches = accelerator.prepare(model, optimizer, loader())
    if prepared_first:
        sparse = wr.attach(wrapped, outer, METHODS[method](), steps=STEPS)
    for x, y in batches:
        with accelerator.accumulate(wrapped):
            outer.zero_grad()
            accelerator.backward(cross_entropy(wrapped(x), y))
            outer.step()
    check_same(model, sparse, method)


@pytest.mark.parametrize("method", SAME_LOOPS)
def test_hugging_face_trainer(method: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra `interop`)")
    pytest.importorskip("accelerate", reason="accelerate is not installed (extra `interop`)")

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(dtype=torch.float32)

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    model = WithLoss()
    optimizer = sgd(model)
    sparse = wr.attach(model, optimizer, METHODS[method](), steps=STEPS)
    settings = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_train_epochs=1,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
    )
    trainer = transformers.Trainer(
        model=model,
        args=settings,
        train_dataset=[{"x": x, "labels": y} for x, y in data()],
        optimizers=(optimizer, None),
    )
    trainer.train()
    check_same(model.net, sparse, method)


@pytest.mark.parametrize("method", SAME_LOOPS)
def test_lightning(method: str, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed (extra `interop`)")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(dtype=torch.float32)

        def training_step(self, pair: tuple[Tensor, Tensor], _: int) -> Tensor:
            x, y = pair
            return cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer = sgd(self)
            self.sparse = wr.attach(self, optimizer, METHODS[method](), steps=STEPS)
            return optimizer

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader())
    check_same(module.net, module.sparse, method)
    assert list(module.sparse.wiring) == ["net.conv.weight", "net.fc1.weight", "net.fc2.weight"]
