#!/bin/bash
# bench.bash: print the request, from standard input or, with webhook, from the argument.
if (($#)); then request=$1; else IFS= read -r -d '' request; fi
printf '%s\n' "$request"
