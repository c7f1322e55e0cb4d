#!/usr/bin/env bash
# Everything that benchmarks/training.md still waits for, in one call on one GPU of 80 GB or more; about 10 minutes on an
# H200 by estimate, never run so far. Prints one JSON object per line; give a folder to keep them: gpu_training.sh OUT
#
# 1  drawing 16 images guided (32 rows) at the size of Janus-Pro-1B: against the plain loop, transformers' generate, the floor
# 2  one step of 8 prompts x 8 images: against the plain step, in micro-batches that fit both
# 3  the same against the form of the published trainer
# 4  the tests that need a GPU
set -uo pipefail
cd "$(dirname "$0")/.."
out="${1:-/tmp/gpu_training}"
mkdir -p "$out"
bench() { # name, then options; a form that fails must not cost the others
    local name="$1"
    shift
    timeout "${LIMIT_S:-240}" python -m pyrite bench train --size "${SIZE:-1b}" --device "${DEVICE:-cuda}" --dtype bfloat16 \
        --cfg-scale 5 --rounds "${ROUNDS:-1}" --json "$@" | tee "$out/$name.json" || echo "{\"failed\": \"$name\"}"
}
[ "${DEVICE:-cuda}" = cuda ] && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
bench draw_16 --prompts 2 --per-prompt 8 --only-drawing
bench draw_64 --prompts 8 --per-prompt 8 --only-drawing --no-generate
bench step --prompts 8 --per-prompt 8 --micro-batch 8 --no-generate
bench step_as_published --prompts 8 --per-prompt 8 --micro-batch 8 --no-generate --as-published
[ "${TESTS:-1}" = 1 ] && python -m pytest -q -m gpu tests/policies tests/training 2>&1 | tail -n 3
exit 0
