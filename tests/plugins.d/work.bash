#!/bin/bash
# Counts its runs in the file `runs`, works for `seconds` or until the gate opens, answers with the square of `n`.
echo "$AGENT_COMMAND_ID" >>"$PARAM_runs"
[[ -z ${PARAM_seconds-} ]] || sleep "$PARAM_seconds"
[[ -z ${PARAM_until-} ]] || read -r <"$PARAM_until"
echo "{\"square\": $((PARAM_n * PARAM_n))}"
