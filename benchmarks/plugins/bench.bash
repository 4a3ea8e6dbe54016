#!/bin/bash
# bench.bash: print the request. It comes on standard input, or, from webhook, as the argument.
if (($#)); then request=$1; else IFS= read -r -d '' request; fi
printf '%s\n' "$request"
