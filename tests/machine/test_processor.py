"""Integer kernel of a CPU, from the features that the system reports."""

import platform

import pytest

from qatlab.machine.hardware import features, integer_kernel

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\nbugs\t\t: avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    ("cpuinfo", "kernel"),
    [
        (X86.format(""), "avx2"),
        (X86.format("avx512f"), "avx512f"),
        (X86.format("avx512f avx512_vnni"), "avx512_vnni"),
        (X86.format("avx_vnni"), "avx_vnni"),
        (X86.format("avx512f avx512_vnni amx_int8"), "amx_int8"),
        ("Features\t: fp asimd asimddp i8mm\n", "i8mm"),
        ("Features\t: fp asimd asimddp\n", "asimddp"),
        ("nothing that is known\n", platform.machine()),
    ],
)
def test_the_fastest_kernel_is_reported(tmp_path, cpuinfo, kernel):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert integer_kernel(features(tmp_path / "cpuinfo")) == kernel


def test_exact_products_are_named_where_they_matter():
    assert integer_kernel(["avx2"], exact_products=True) == "avx2, exact"
    assert integer_kernel(["avx512_vnni", "avx512f", "avx2"], exact_products=True) == "avx512_vnni"


def test_unknown_features_are_an_empty_list(tmp_path):
    assert features(tmp_path / "nowhere") == []
