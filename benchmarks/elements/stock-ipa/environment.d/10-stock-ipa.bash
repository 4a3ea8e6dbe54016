# Directories with the wheels of ironic-python-agent and the elements of its builder.
export BENCH_IPA_WHEELS=${BENCH_IPA_WHEELS:-}
export BENCH_IPA_BUILDER=${BENCH_IPA_BUILDER:-}
