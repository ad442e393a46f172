#!/bin/sh
# Everything that a reviewer would otherwise have to look for.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l .)
test -z "$unformatted" || { echo "not formatted, run gofmt -w on:"; echo "$unformatted"; exit 1; }
go vet ./...
GOOS=darwin go vet ./...
go mod verify >/dev/null
go mod tidy -diff
go tool -modfile=tools/go.mod golangci-lint run
go test -count=1 . ./config/... # import rules, docs, generated files
