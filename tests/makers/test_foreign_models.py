"""Models that nobody tuned anything for: a ViT, a GPT-2 and a Llama built from configurations by `transformers`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from tiny_networks import same_afterwards
from torch import Tensor, nn

from wirings.core.errors import WiringError
from wirings.makers.grasp import grasp
from wirings.makers.ntk_sap import ntk_sap
from wirings.makers.obd import obd
from wirings.makers.prunable import left_dense, prunable
from wirings.makers.scoring import CollapseWarning
from wirings.makers.snip import snip
from wirings.makers.synflow import synflow, synflow_scores

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]
transformers = pytest.importorskip("transformers")

Tokens = dict[str, Tensor]


def tokens() -> Tokens:
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (4, 8), generator=rng)
    return {"input_ids": ids, "labels": ids}


@pytest.fixture(autouse=True)
def _silent_collapse() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        yield


@pytest.fixture
def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, vocab_size=50, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.GPT2LMHeadModel(config)  # type: ignore[no-any-return]


@pytest.fixture
def vit() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=16, patch_size=4,
        num_labels=5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.ViTForImageClassification(config)  # type: ignore[no-any-return]


def test_gpt2_gives_a_wiring_and_keeps_its_tied_embedding_dense(gpt2: nn.Module) -> None:
    assert len(prunable(gpt2)) == 8  # four Conv1D a block
    assert "Embedding" in left_dense(gpt2)["transformer.wte.weight"]
    with same_afterwards(gpt2):
        assert all(float(s.min()) >= 0 and float(s.max()) > 0 for s in synflow_scores(gpt2, (1, 8)).values())
        wirings = [
            synflow(gpt2, (1, 8), 0.2, rounds=5),
            snip(gpt2, tokens(), 0.2),
            grasp(gpt2, tokens(), 0.2),
            obd(gpt2, tokens(), 0.2, probes=2),
        ]
    for wiring in wirings:
        assert wiring.nnz == round(0.2 * wiring.numel)
    with pytest.raises(WiringError, match="`ntk_sap` could not run `GPT2LMHeadModel` on Gaussian inputs"):
        ntk_sap(gpt2, (1, 8), 0.2, rounds=1, samples=2)


def test_a_vit_gives_a_wiring(vit: nn.Module) -> None:
    rng = torch.Generator().manual_seed(0)
    batch = torch.randn(8, 3, 16, 16, generator=rng), torch.arange(8) % 5
    with same_afterwards(vit):
        assert all(float(s.min()) >= 0 and float(s.max()) > 0 for s in synflow_scores(vit, (1, 3, 16, 16)).values())
        wirings = [
            synflow(vit, (1, 3, 16, 16), 0.2, rounds=5),
            snip(vit, batch, 0.2),
            grasp(vit, batch, 0.2),
            obd(vit, batch, 0.2, probes=2),
            ntk_sap(vit, (1, 3, 16, 16), 0.2, rounds=2, samples=4),
        ]
    for wiring in wirings:
        assert wiring.nnz == round(0.2 * wiring.numel)
