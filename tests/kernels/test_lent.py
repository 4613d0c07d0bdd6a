"""Memory of activations that is lent and comes back."""

from __future__ import annotations

import gc

import pytest
import torch

from wirings.kernels import lent as module
from wirings.kernels.lent import LEAST, forget, kept, lent

SHAPE = (LEAST // 64 + 1, 16)


@pytest.fixture(autouse=True)
def nothing_kept():
    gc.collect()
    forget()
    yield
    forget()


def test_memory_comes_back_when_the_last_tensor_that_uses_it_goes():
    tensor = lent(SHAPE, torch.float32)
    assert tensor.shape == SHAPE
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0
    place, size = tensor.data_ptr(), tensor.nbytes
    part = tensor[3:].t()
    del tensor
    assert kept() == 0
    del part
    assert kept() == size
    again = lent((16, SHAPE[0]), torch.float32)
    assert again.data_ptr() == place
    assert kept() == 0


def test_two_tensors_at_a_time_never_share_memory():
    first, second = lent(SHAPE, torch.float64).fill_(1), lent(SHAPE, torch.float64).fill_(2)
    assert first.eq(1).all()
    assert second.eq(2).all()


def test_autograd_gives_back_what_it_saved():
    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(lent(SHAPE, torch.float32).fill_(3))
            return x * 3

        @staticmethod
        def backward(ctx, grad):
            (saved,) = ctx.saved_tensors
            return grad * saved[0, 0]

    x = torch.ones(2, requires_grad=True)
    y = Saves.apply(x).sum()
    assert kept() == 0
    y.backward()
    assert x.grad.tolist() == [3, 3]
    assert kept() == 4 * SHAPE[0] * SHAPE[1]


def test_small_tensors_are_left_to_the_allocator():
    tensor = lent((4, 4), torch.float32)
    del tensor
    assert kept() == 0


def test_no_more_is_kept_than_said(monkeypatch):
    monkeypatch.setattr(module, "MOST", 3 * LEAST)
    for rows in (1, 2, 4):  # the last one is larger than all that may be kept
        tensor = lent((rows * LEAST,), torch.int8)
        del tensor
        assert kept() <= 3 * LEAST
    tensors = [lent((LEAST,), torch.int8) for _ in range(5)]
    tensors.clear()
    assert kept() <= 3 * LEAST


def test_other_sizes_wait_in_the_room_of_what_was_lent_at_the_most():
    step = [lent((LEAST,), torch.int8) for _ in range(8)]
    step.clear()
    assert kept() == 8 * LEAST
    other = [lent((2 * LEAST,), torch.int8) for _ in range(3)]  # 6 of 8 are lent: what waits and they fit into 14
    assert kept() == 8 * LEAST
    other.append(lent((2 * LEAST,), torch.int8))
    assert kept() == 6 * LEAST
    other.clear()
    step = [lent((LEAST,), torch.int8) for _ in range(6)]  # they were not given up for nothing
    assert kept() == 8 * LEAST
    step.append(lent((LEAST,), torch.int8))
    assert kept() == 6 * LEAST
