#!/usr/bin/env bash
# Everything that vlbench says of a GPU, tried on one NVIDIA GPU within about eight minutes. It needs no network and leaves
# the GPU's settings as they are.
#
#   OUT=/some/folder bash tests/gpu/check.sh          from the project's root; PY names another Python
#   ONLY="ab-equal ab-slower" LIMIT=300 bash ...      some steps alone, within so many seconds
#
# What that Python lacks is taken from wheels in .whl, made before where there is a network: pip download -d .whl NAME.
# $OUT gets summary.txt, a line for each step; log.txt, all output; clocks.csv; and results/. A step that fails, or takes
# longer than it may, does not end the others. The most valuable come first.
set -u
begun=$(date +%s)
LIMIT=${LIMIT:-470}
OUT=${OUT:-$(mktemp -d)}
PY=${PY:-python3}
THREADS=${THREADS:-4}
MODELS=${MODELS:-vilt,pixelbert,uniter,vit-*,clip-*}
PATCH_MODELS=${PATCH_MODELS:-vilt,vit-b16,vit-l16,clip-vit-b32}
ONE_MODEL=${ONE_MODEL:-vilt}
SLOWER=${SLOWER:-image-size=416x672} # 12% more tokens
TOO_LARGE=${TOO_LARGE:-uniter,vit-b32}
BUDGET=${BUDGET:-20}
BATCH=${BATCH:-64}
AB_BUDGET=${AB_BUDGET:-30}
PRESET=${PRESET:-base}
TRAIN=${TRAIN:---budget 20min}
export PYTHONUNBUFFERED=1 PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD" COLUMNS=200 HF_HUB_OFFLINE=1 MPLBACKEND=Agg
results=$OUT/results
mkdir -p "$results"
: >"$OUT/summary.txt"
: >"$OUT/log.txt"

if ls .whl/*.whl >/dev/null 2>&1; then
  site=$(mktemp -d)
  "$PY" -m pip install -q --no-index --no-deps --no-compile --target "$site" .whl/*.whl && export PYTHONPATH="$PYTHONPATH:$site"
fi

say() { echo "$*" | tee -a "$OUT/summary.txt"; }

# step NAME SECONDS EXIT_CODES COMMAND...: Ctrl-C ends it first, so that vlbench keeps what it has measured
step() {
  local name=$1 seconds=$2 expected=$3 started output left code
  shift 3
  [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $name "* ]] || return 0
  left=$((LIMIT - $(date +%s) + begun))
  if [ "$left" -lt 12 ]; then
    say "skip  $name: no time left"
    return
  fi
  [ "$seconds" -le $((left - 6)) ] || seconds=$((left - 6))
  started=$(date +%s%N)
  output=$(mktemp)
  env --default-signal=INT timeout --foreground -s INT -k 12 "$seconds" "$@" >"$output" 2>&1 </dev/null
  code=$?
  { echo "=== $name: $*"; cat "$output"; echo; } >>"$OUT/log.txt"
  local verdict=FAIL
  if [[ " $expected " == *" $code "* ]]; then verdict=ok; elif [[ " 124 130 137 " == *" $code "* ]]; then verdict=cut; fi
  say "$(printf '%-5s %-12s code %-3s %5.1f s  %s' $verdict "$name" $code \
    "$(awk "BEGIN{print ($(date +%s%N) - $started) / 1e9}")" "$(grep -v '^[[:space:]]*$' "$output" | tail -n 1 | cut -c1-120)")"
  rm -f "$output"
}

vlbench() { step "$1" "$2" "$3" "$PY" -m vlbench "${@:4}"; }
run() { # one folder, so that the peaks are measured once
  vlbench "$1" "$2" "$3" run --device cuda --threads "$THREADS" --restarts 1 --budget "$BUDGET" --out "$results/run" "${@:4}"
}
ab() { vlbench "$1" "$2" "$3" ab --models "$ONE_MODEL" --device cuda --threads "$THREADS" --threshold 5% --budget "$AB_BUDGET" "${@:4}"; }

if command -v nvidia-smi >/dev/null; then
  nvidia-smi -l 1 --format=csv --query-gpu=timestamp,clocks.sm,power.draw,temperature.gpu,memory.used,clocks_event_reasons.active \
    >"$OUT/clocks.csv" 2>&1 &
  trap "kill $! 2>/dev/null" EXIT
fi

vlbench doctor 60 "0 1" doctor --threads "$THREADS"
step pytest 120 0 "$PY" -m pytest -q -p no:cacheprovider -m gpu --slow tests
for precision in fp32 bf16 fp16; do
  run $precision 90 0 --models "$MODELS" --precision $precision
done
run cuda-graph 45 0 --models "$PATCH_MODELS" --precision bf16 --backend cuda-graph
run cold 45 0 --models "$PATCH_MODELS" --precision bf16 --l2 cold
run "batch-$BATCH" 60 0 --models "$PATCH_MODELS" --precision bf16 --batch "$BATCH"
ab ab-equal 90 0 --record "$OUT/ab-equal.json"
ab ab-slower 120 1 --head-option "$SLOWER" --record "$OUT/ab-slower.json"
ab ab-batch 90 0 --batch "$BATCH" --record "$OUT/ab-batch.json"
run too-large 60 1 --models "$TOO_LARGE" --batch 512
train=(train --models "$ONE_MODEL" --preset "$PRESET" $TRAIN --device cuda --threads "$THREADS" --no-latency --out "$results/train")
vlbench train 45 "0 130" "${train[@]}"
vlbench train-on 30 "0 130" "${train[@]}" # goes on where that was ended
vlbench table6 90 "0 1 130" reproduce vilt-table6 --cells latency --budget 5 --device cuda --threads "$THREADS" --out "$results/table6"

for folder in "$results"/*/; do
  [ -s "$folder/cells.jsonl" ] && "$PY" -m vlbench show "$folder" >>"$OUT/log.txt" 2>&1
done
say "all in $(($(date +%s) - begun)) s; results: $OUT"
! grep -q '^FAIL' "$OUT/summary.txt"
