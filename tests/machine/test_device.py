"""Device and threads, as torch reports them."""

import torch

from qatlab.machine.hardware import describe_device, device_name, has_bf16, peak_memory_bytes, use_threads


def test_the_device_is_the_one_torch_would_use():
    assert device_name() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(has_bf16(), bool)


def test_threads_are_set_and_described():
    before = torch.get_num_threads()
    use_threads(1)
    assert torch.get_num_threads() == 1
    if not torch.cuda.is_available():
        assert "1 threads" in describe_device()
    use_threads(before)


def test_peak_memory_grows_with_allocated_memory():
    before = peak_memory_bytes()
    held = torch.ones(60_000_000, device=device_name())  # 240 MB
    assert peak_memory_bytes() >= before
    assert peak_memory_bytes() > held.numel() * held.element_size()
