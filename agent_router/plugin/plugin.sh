# plugin.sh: helpers for bash plugins; the contract is docs/plugin-protocol.md.
#   . "${AGENT_LIB:?}/plugin.sh"
#   reply key[:type] value …   print the answer; types: string (default), number, bool, json,
#                              null (no value), array (of strings, takes all that follows)
#   fail CODE MESSAGE          print an error and exit 1; refuse: exit 77, retry: 75, incompatible: 69
#   progress DONE [TOTAL [UNIT [MESSAGE]]]; warn TEXT; critical on|off; log TEXT
# Inside $( ), fail ends only the substitution, and its message goes to the log; the plugin then ends by set -e.
# A command that ends the plugin by set -e is named in the log, with its line.
set -Eeuo pipefail
trap '_failed "$LINENO" "$BASH_COMMAND" "${BASH_SOURCE[0]-}"' ERR

_failed() { # on standard error only: in a subshell the trap is called there and outside
    [[ $- == *e* ]] || return 0
    local file=''
    [[ -z $3 || $3 == "$0" ]] || file="${3##*/}, "
    printf '<3>%sline %s: %.200s\n' "$file" "$1" "${2%%$'\n'*}" >&2
}

json_string() { # sets REPLY to the JSON text of $1; pure bash, because jq costs 25 ms a call
    local s=$1 i c
    [[ $s != *[!\ -~]* ]] || _json_utf8
    s=${s//\\/\\\\} s=${s//\"/\\\"} s=${s//$'\n'/\\n} s=${s//$'\t'/\\t} s=${s//$'\r'/\\r}
    if [[ $s == *[$'\x01'-$'\x1f'$'\x7f']* ]]; then
        for i in {1..31} 127; do
            printf -v REPLY '\\u%04x' "$i"
            printf -v c '%b' "\\x${REPLY: -2}"
            s=${s//"$c"/"$REPLY"}
        done
    fi
    REPLY="\"$s\""
}

_json_utf8() { # if s is not UTF-8, each byte of it beyond ASCII becomes U+FFFD
    local LC_ALL=C c=[$'\x80'-$'\xbf'] t=$s
    t=${t//[$'\xc2'-$'\xdf']$c/x} t=${t//$'\xe0'[$'\xa0'-$'\xbf']$c/x} t=${t//$'\xed'[$'\x80'-$'\x9f']$c/x}
    t=${t//[$'\xe1'-$'\xec\xee\xef']$c$c/x} t=${t//$'\xf0'[$'\x90'-$'\xbf']$c$c/x}
    t=${t//[$'\xf1'-$'\xf3']$c$c$c/x} t=${t//$'\xf4'[$'\x80'-$'\x8f']$c$c/x}
    [[ $t != *[$'\x80'-$'\xff']* ]] || s=${s//[$'\x80'-$'\xff']/$'\xef\xbf\xbd'}
}

json_array() { # sets REPLY to a JSON array of the strings given
    local out='' item
    for item; do
        json_string "$item"
        out+=${out:+, }$REPLY
    done
    REPLY="[$out]"
}

reply() {
    local out='' key type
    while (($#)); do
        key=${1%%:*} type=string
        [[ $1 == *:* ]] && type=${1#*:}
        shift
        case $type in
            null) REPLY=null ;;
            array) json_array "$@" && set -- ;;
            string) json_string "${1?reply: $key has no value}" && shift ;;
            number) _matching '^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$' "${@:1:1}" && shift ;;
            bool) _matching '^(true|false)$' "${@:1:1}" && shift ;;
            json) REPLY=${1?reply: $key has no value} && shift ;;
            *) echo "reply: unknown type $type of $key" >&2 && exit 70 ;;
        esac
        local value=$REPLY
        json_string "$key"
        out+="${out:+, }$REPLY: $value"
    done
    printf '{%s}\n' "$out"
}

_matching() { # REGEX VALUE: sets REPLY to the value; for reply, whose key and type it names
    REPLY=${2?reply: $key has no value}
    [[ $REPLY =~ $1 ]] || { echo "reply: '$REPLY' is no $type, which $key must be" >&2 && exit 70; }
}

_error() { # STATUS CODE MESSAGE
    ((BASH_SUBSHELL == 0)) || printf '<3>%s\n' "${3:-$2}" >&2
    json_string "$2"
    local code=$REPLY
    json_string "${3:-$2}"
    printf '{"error": {"code": %s, "message": %s}}\n' "$code" "$REPLY"
    exit "$1"
}
fail() { _error 1 "$@"; }
invalid() { _error 64 "$@"; }
incompatible() { _error 69 "$@"; }
retry() { _error 75 "$@"; }
refuse() { _error 77 "$@"; }

_event() { if [[ ${AGENT_EVENTS-} ]]; then printf '%s\n' "$1" >&3; fi; }
progress() {
    local out="\"done\": $1"
    [[ ${2-} ]] && out+=", \"total\": $2"
    [[ ${3-} ]] && json_string "$3" && out+=", \"unit\": $REPLY"
    [[ ${4-} ]] && json_string "$4" && out+=", \"message\": $REPLY"
    _event "{$out}"
}
warn() { json_string "${1:0:2000}" && _event "{\"warn\": $REPLY}"; }
critical() { case $1 in on) _event '{"critical": true}' ;; *) _event '{"critical": false}' ;; esac; }
log() { printf '<6>%s\n' "$*" >&2; }
