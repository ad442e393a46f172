#!/bin/sh
# The functions of examples/functions: those in Go into that folder, the others,
# which need node and npm, into their own, as Fastly's command line does. And the
# one of examples/bad-trap.
set -eu
cd "$(dirname "$0")/../examples/functions"
for name in */main.go; do
	name=${name%/main.go}
	echo "$name"
	mode=exe
	if [ "$name" = handler ]; then mode=c-shared; fi # a library: the edge calls what it exports
	GOOS=wasip1 GOARCH=wasm go build -buildmode="$mode" -o "$name.wasm" "./$name"
done
echo bad-trap
GOOS=wasip1 GOARCH=wasm go build -o ../bad-trap/cart.wasm ../bad-trap/cart
for name in */package.json; do
	name=${name%/package.json}
	if command -v npm >/dev/null; then
		echo "$name"
		(cd "$name" && npm install --no-save --no-audit --no-fund --loglevel=error && npm run build --silent)
	else
		echo "$name is left out: it needs node and npm"
	fi
done
