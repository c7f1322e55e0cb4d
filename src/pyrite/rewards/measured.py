"""How far the published rewards are from their official codes: measured, not promised.

`python benchmarks/parity.py` measures these numbers and prints this table; a test compares them with what it finds.
"""

# Largest difference from the official float32 scores over the golden images and prompts, by dtype of the model.
# The fixtures' models are tiny: in half precision a wide model errs less, because more products are averaged.
_ERRORS: dict[str, dict[str, float]] = {
    "hpsv2.0": {"float32": 1.1e-07, "bfloat16": 0.0021, "float16": 0.00031},
    "hpsv2.1": {"float32": 1.1e-07, "bfloat16": 0.0021, "float16": 0.00031},
    "pickscore": {"float32": 6e-06, "bfloat16": 0.5, "float16": 0.039},
    "pickscore (cosine)": {"float32": 6.2e-08, "bfloat16": 0.0042, "float16": 0.00045},
    "clipscore": {"float32": 8.5e-08, "bfloat16": 0.0092, "float16": 0.00062},
    "aesthetic-v1": {"float32": 4.8e-07, "bfloat16": 0.019, "float16": 0.0018},
    "aesthetic-v2": {"float32": 4.8e-07, "bfloat16": 0.0096, "float16": 0.00027},
    "imagereward": {"float32": 2.4e-06, "bfloat16": 0.046, "float16": 0.0044},
    "vqascore": {"float32": 5.4e-07, "bfloat16": 0.0037, "float16": 0.00063},
    "vqascore-xl": {"float32": 5.4e-07, "bfloat16": 0.0037, "float16": 0.00063},
    "deqa": {"float32": 5.4e-07, "bfloat16": 0.018, "float16": 0.0024},
    "gdino": {"float32": 6.5e-07, "bfloat16": 1.0, "float16": 0.5},
    "git": {"float32": 2.4e-07, "bfloat16": 0.0028, "float16": 0.00027},
    "orm": {"float32": 8.2e-08, "bfloat16": 0.0031, "float16": 0.005},
    "maniqa": {"float32": 3.2e-06, "bfloat16": 0.28, "float16": 0.18},
}


def parity_error(name: str, dtype: str) -> float:
    """The largest difference of a published reward's scores from the official ones, on its official scale.

    Args:
        name: of the reward, with " (cosine)" for PickScore's other scale.
        dtype: of the model: float32, bfloat16 or float16.
    """
    return _ERRORS[name][dtype]
