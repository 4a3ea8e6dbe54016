#!/bin/sh
# Counts its runs in the file `runs`, works for `seconds`, answers with the square of `n`.
echo "$AGENT_COMMAND_ID" >>"$PARAM_runs"
sleep "${PARAM_seconds:-0}"
echo "{\"square\": $((PARAM_n * PARAM_n))}"
