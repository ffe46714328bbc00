import pytest

from bakeoff.adapters.generation.hardware import pick_dtype
from bakeoff.errors import UsageError

ZEN4 = "vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16 avx512_vnni"
SAPPHIRE_RAPIDS = "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile"
HIDDEN_AMX = "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 avx512_fp16"
OLD = "vendor_id : AuthenticAMD\nflags : fpu avx2"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [(ZEN4, "bfloat16"), (SAPPHIRE_RAPIDS, "bfloat16"), (HIDDEN_AMX, "float32"), (OLD, "float32"), ("", "float32")],
)
def test_bfloat16_only_where_the_cpu_is_faster_in_it(cpuinfo: str, expected: str) -> None:
    assert pick_dtype(cpuinfo=cpuinfo, cuda_bfloat16=False) == expected


def test_a_gpu_that_knows_bfloat16_uses_it() -> None:
    assert pick_dtype(cpuinfo=OLD, cuda_bfloat16=True) == "bfloat16"


def test_what_a_person_asks_for_wins() -> None:
    assert pick_dtype(override="float32", cpuinfo=ZEN4, cuda_bfloat16=True) == "float32"
    with pytest.raises(UsageError, match="float16"):
        pick_dtype(override="float16")
